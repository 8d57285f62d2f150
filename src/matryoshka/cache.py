"""Where results of work that need not be done twice are kept."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs

LIMIT = 2_000_000_000  # bytes of each folder that grows with use


def cache_folder() -> Path:
    """$MATRYOSHKA_CACHE, else the user's cache folder of this package; not made here."""
    return Path(os.environ.get("MATRYOSHKA_CACHE") or platformdirs.user_cache_dir("matryoshka")).expanduser().absolute()


def mark_used(path: Path) -> None:
    """Let a file count as new, so that it is not among the oldest; nothing where the folder may not be written."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove_oldest(folder: Path, limit: int = LIMIT) -> None:
    """Remove the files used longest ago until those left take at most `limit` bytes; another process may do so too."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
