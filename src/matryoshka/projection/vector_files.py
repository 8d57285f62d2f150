"""Files of vectors: `my.npy`, `my.npz` or `my.npz:name`, `my.parquet` or `my.parquet:column`."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from matryoshka.errors import DataError
from matryoshka.projection.arrays import Block, array_file, write_header
from matryoshka.projection.codes import Array
from matryoshka.storage.atomic import saying_if_full, whole_file
from matryoshka.storage.cache import cache_folder, mark_used, remove_oldest

ENDINGS = (".npy", ".npz", ".parquet")
CONVERTED_AT_ONCE = 1 << 23  # bytes
KEPT = 40_000_000_000  # bytes of converted files


class Vectors(Protocol):
    """A matrix of vectors in a file. where: file and name, for messages."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def where(self) -> str:
        """The file, and the array or column in it."""

    @property
    def rows(self) -> int:
        """How many vectors."""

    @property
    def width(self) -> int:
        """Numbers of each."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""

    @property
    def column(self) -> str:
        """Its name in a Parquet file."""

    @property
    def others(self) -> Any:
        """The schema of the file's other columns, or None."""

    @property
    def other_bytes(self) -> int:
        """What these take."""

    def blocks(self, rows: int, others: bool = False, kept: int = 1) -> Iterator[Block]:
        """So many rows at a time, with other columns where wanted; a block lasts for `kept` requests."""

    def mapped(self) -> Array | None:
        """The matrix in place, or None where it has to be converted first."""


def opened(text: Path | str) -> Vectors:
    """Look at a file's header. Raises DataError for one that is missing, of another kind or damaged, or no floats."""
    path, name = path_and_name(text)
    if path.suffix.lower() not in ENDINGS:
        raise DataError(f"{path}: vectors are read from {', '.join(ENDINGS[:2])} and {ENDINGS[2]} files")
    if not path.is_file():
        raise DataError(f"{path} does not exist" if not path.exists() else f"{path} is a folder, not a file of vectors")
    if path.suffix.lower() == ".parquet":
        from matryoshka.projection.parquet import parquet_file  # pyarrow takes 70 MB of memory

        return parquet_file(path, name)
    return array_file(path, name)


def path_and_name(text: Path | str) -> tuple[Path, str | None]:
    """A file, and what is named of it behind a colon."""
    split = re.fullmatch(r"(.+\.(?:npy|npz|parquet)):(.+)", str(text), re.IGNORECASE | re.DOTALL)
    if split is None or Path(text).is_file():
        return Path(text), None
    return Path(split[1]), split[2]


def shape_of(text: Path | str) -> tuple[int, int]:
    """Rows and width of a file of vectors. Raises DataError, which names the file."""
    vectors = opened(text)
    return vectors.rows, vectors.width


def mapped(text: Path | str) -> Array:
    """A file's vectors (N, D) as a read-only array that is paged in as it is read.

    What cannot be mapped in place, compressed arrays and Parquet, is converted once and kept in the cache folder under
    path, size and time of change. Raises DataError, which names the file.
    """
    vectors = opened(text)
    if (in_place_ND := vectors.mapped()) is not None:
        return in_place_ND
    facts = vectors.path.stat()
    where = vectors.where.replace(str(vectors.path), str(vectors.path.absolute()), 1)
    key = hashlib.sha256(f"{where}\n{facts.st_size}\n{facts.st_mtime_ns}".encode()).hexdigest()[:32]
    kept = cache_folder() / "vectors" / f"{key}.npy"
    if kept.is_file():
        mark_used(kept)
    else:
        _convert(vectors, kept)
        remove_oldest(kept.parent, KEPT, spare=kept)
    kept_ND: Array = np.load(kept, mmap_mode="r")
    return kept_ND


def _convert(vectors: Vectors, kept: Path) -> None:
    """The vectors as a .npy file, block by block."""
    size = vectors.rows * vectors.width * vectors.dtype.itemsize
    kept.parent.mkdir(parents=True, exist_ok=True)
    if size > (free := shutil.disk_usage(kept.parent).free):
        raise DataError(
            f"{vectors.where} has to be unpacked to be mapped: that takes {size / 1e6:,.0f} MB, and {kept.parent} has "
            f"{free / 1e6:,.0f} MB free; make room, or name another folder by MATRYOSHKA_CACHE"
        )
    with saying_if_full(kept, size), whole_file(kept) as file:
        write_header(file, vectors.dtype, vectors.rows, vectors.width)
        for x_ND, _ in vectors.blocks(max(1, CONVERTED_AT_ONCE // (vectors.width * vectors.dtype.itemsize))):
            file.write(np.ascontiguousarray(x_ND).data)
