"""Where results of work that need not be done twice are kept."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from pathlib import Path

import platformdirs

from matryoshka.errors import DiskFullError
from matryoshka.storage.atomic import write_atomically

log = logging.getLogger(__name__)

LIMIT = 2_000_000_000  # bytes of each folder that grows with use
HOUR = 3600  # seconds after which no one is still writing a temporary file


def cache_folder() -> Path:
    """$MATRYOSHKA_CACHE, else the user's cache folder of this package; not made here."""
    return Path(os.environ.get("MATRYOSHKA_CACHE") or platformdirs.user_cache_dir("matryoshka")).expanduser().absolute()


def keep(path: Path, content: bytes) -> bool:
    """Write a file of a folder that grows with use; False where that fails, with one warning a folder.

    What is kept saves work and no more, so nobody has to stop for a full disk or a folder that may not be written.
    """
    try:
        write_atomically(path, content)
    except (OSError, DiskFullError) as error:
        _warn(path.parent, getattr(error, "strerror", None) or str(error))
        return False
    return True


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    log.warning("nothing is kept in %s (%s): the work goes on, and another run does it again", folder, reason)


def mark_used(path: Path) -> None:
    """Let a file count as new, so that it is not among the oldest; nothing where the folder may not be written."""
    with contextlib.suppress(OSError):
        os.utime(path)


def remove_oldest(folder: Path, limit: int = LIMIT, spare: Path | None = None) -> None:
    """Remove the files used longest ago until those left take at most `limit` bytes, but for the one to spare.

    Another process may do so too. What it is writing, temporary files of the last hour, is not looked at.
    """
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            facts = path.stat()
            writing = path.name.startswith(".") and facts.st_mtime > time.time() - HOUR
            if path.is_file() and not writing:
                found.append((facts.st_mtime_ns, facts.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        if path != spare:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size
