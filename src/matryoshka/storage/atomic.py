"""Files and folders that are there whole or not at all, and what is said where the disk is full."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from matryoshka.errors import DiskFullError, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
UNFINISHED = ".unfinished-"  # in the name of what is being written, so that nothing of a user's is taken for it


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write beside the target, flush to disk, rename into place; returns the path. Makes the folder.

    Raises DiskFullError, and leaves an older file as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    with saying_if_full(path, len(data)), whole_file(path) as file:
        file.write(data)
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file beside the target to write; at the end it is flushed to disk and takes the target's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{UNFINISHED}")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(beside).chmod(0o644)  # mkstemp's own mode would keep colleagues out
        Path(beside).replace(path)
        flush(path.parent)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def write_json(path: Path, plain: Any) -> Path:
    """Plain values as JSON that a person can read, whole or not at all; returns the path."""
    return write_atomically(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(folder: Path, needed: int | None = None) -> Iterator[Path]:
    """Give an empty folder that takes the given one's place at the end, flushed to disk; on an error nothing changes.

    needed: bytes that will be written, for DiskFullError's message.
    """
    with saying_if_full(folder, needed):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}{UNFINISHED}") as work:
            new, older = Path(work, "new"), Path(work, "older")
            new.mkdir()
            with saying_if_full(folder, needed):  # before what was written is removed, and so is not missing any more
                yield new
                for path in (*new.rglob("*"), new):
                    flush(path)
            if folder.exists():
                folder.rename(older)
            try:
                new.rename(folder)
            except BaseException:
                if older.exists() and not folder.exists():
                    older.rename(folder)
                raise
            flush(folder.parent)


def flush(path: Path) -> None:
    """Have the disk keep a file's content, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def saying_if_full(path: Path, needed: int | None = None) -> Iterator[None]:
    """Raise DiskFullError for whatever a library makes of a full disk. needed: bytes that are written into path."""
    try:
        yield
    except Exception as error:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(folder).free
        said = isinstance(error, OSError) and error.errno in FULL
        if isinstance(error, DiskFullError | UserError) or not (said or "No space left" in str(error) or free < 4096):
            raise
        raise DiskFullError.of(path, needed, free) from error


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process had not yet renamed, in this folder and those directly below it."""
    for item in [*folder.glob(f".*{UNFINISHED}*"), *folder.glob(f"*/.*{UNFINISHED}*")]:
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()
