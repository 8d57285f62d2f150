"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write beside the target, flush to disk, rename into place; returns the path. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).chmod(0o644)  # mkstemp's own mode would keep colleagues out
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, plain: Any) -> Path:
    """Plain values as JSON that a person can read, whole or not at all; returns the path."""
    return write_atomically(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
