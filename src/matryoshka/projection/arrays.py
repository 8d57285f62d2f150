"""Vectors in NumPy's files, block by block: .npy, and an array of an .npz, stored or compressed."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy

from matryoshka.errors import DataError
from matryoshka.projection.codes import Array

FLOATS = ("float16", "float32", "float64")
LOCAL_HEADER = 30  # bytes of a zip member before its name and its extra field
Others = Any  # a RecordBatch with a file's other columns, or None; pyarrow's types are not known here
Block = tuple[Array, Others]  # vectors (N, D), and what else a file has of these rows


@dataclass(frozen=True)
class ArrayFile:
    """An array (rows, width) of a .npy file or, with a member, of an .npz file. where: to name it in a message."""

    path: Path
    where: str
    rows: int
    width: int
    dtype: np.dtype[Any]
    start: int  # of the numbers, in the array's file
    member: str | None = None
    column: str = "vector"  # where they are written to a Parquet file
    others: None = None
    other_bytes: int = 0

    def blocks(self, rows: int, others: bool = False, kept: int = 1) -> Iterator[Block]:
        """So many rows at a time; a block's numbers are written over once `kept` further ones have been asked for.

        Read, not mapped: what is mapped counts as the process's memory, as far as the file has been read.
        """
        buffers = [np.empty((min(rows, self.rows), self.width), self.dtype) for _ in range(kept)]
        with _opened(self.path, self.member) as file:
            _skip(file, self.start)
            for turn, first in enumerate(range(0, self.rows, rows)):
                x_ND = buffers[turn % kept][: self.rows - first]
                self._fill(file, x_ND, first)
                yield x_ND, None

    def mapped(self) -> Array | None:
        """The array in place, without reading it; None where it is compressed."""
        start = self.start
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive:
                info = archive.getinfo(self.member)
            if info.compress_type != zipfile.ZIP_STORED:
                return None
            with self.path.open("rb") as file:
                file.seek(info.header_offset)
                name, extra = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
            start += info.header_offset + LOCAL_HEADER + name + extra
        return np.memmap(self.path, self.dtype, "r", start, (self.rows, self.width))

    def _fill(self, file: BinaryIO, x_ND: Array, first: int) -> None:
        view, done = x_ND.reshape(-1).view(np.uint8).data, 0
        try:
            while done < len(view):
                if not (count := cast(io.RawIOBase, file).readinto(view[done:])):
                    raise EOFError(f"it ends within row {first + done // x_ND[0].nbytes}")
                done += count
        except (EOFError, zipfile.BadZipFile, OSError, zlib.error) as error:
            raise DataError(f"{self.where}: {error}; copy the complete file again") from error


def array_file(path: Path, name: str | None = None) -> ArrayFile:
    """What a .npy file, or an array of an .npz file, says it has. Raises DataError for what is no floats (N, D)."""
    member = None
    where = str(path)
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                member = _member(path, archive.namelist(), name)
                size = archive.getinfo(member).file_size
            where = f"{path}:{member.removesuffix('.npy')}"
        elif name is not None:
            raise DataError(f"{path}:{name}: a .npy file has one array, without a name")
        else:
            size = path.stat().st_size
        with _opened(path, member) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = read(file)
            start = file.tell()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{where} is damaged or no array of NumPy: {error}") from error
    _require_vectors(where, shape, dtype, by_columns)
    rows, width = shape
    if size < start + rows * width * dtype.itemsize:
        there = (size - start) // (width * dtype.itemsize)
        raise DataError(f"{where} ends after {there:,} of {rows:,} rows; copy the complete file again")
    return ArrayFile(path, where, rows, width, dtype, start, member)


def _require_vectors(where: str, shape: tuple[int, ...], dtype: np.dtype[Any], by_columns: bool) -> None:
    if len(shape) != 2:
        raise DataError(f"{where} has shape {shape}; vectors are a matrix, a row each")
    if dtype.newbyteorder("=").name not in FLOATS:
        raise DataError(f"{where} has {dtype}; vectors are of {', '.join(FLOATS[:2])} or {FLOATS[2]}")
    if min(shape) < 1:
        raise DataError(f"{where} has shape {shape}: there are no vectors in it")
    if by_columns and 1 not in shape:
        raise DataError(f"{where} is stored by columns; save it by rows: np.save(path, np.ascontiguousarray(array))")


def _member(path: Path, names: list[str], name: str | None) -> str:
    """The file of an archive that is meant."""
    arrays = [item.removesuffix(".npy") for item in names if item.endswith(".npy")]
    if name is None and len(arrays) == 1:
        return f"{arrays[0]}.npy"
    if name in arrays:
        return f"{name}.npy"
    listed = ", ".join(arrays) or "none"
    if name is None:
        which = f"; name one, {path}:{arrays[0]}" if arrays else ""
        raise DataError(f"{path} has {len(arrays)} arrays ({listed}){which}")
    raise DataError(f"{path} has no array {name}; it has {listed}")


def _opened(path: Path, member: str | None) -> BinaryIO:
    """The array's file: an archive's member keeps the archive open as long as itself."""
    if member is None:
        return cast(BinaryIO, path.open("rb", buffering=0))
    return cast(BinaryIO, zipfile.ZipFile(path).open(member))


def _skip(file: BinaryIO, count: int) -> None:
    while count:
        count -= len(file.read(count))


def write_header(file: BinaryIO, dtype: np.dtype[Any], rows: int, width: int) -> None:
    """The start of a .npy file; the numbers follow row by row."""
    said = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, width)}
    npy.write_array_header_1_0(file, said)
