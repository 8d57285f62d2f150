"""Millions of vectors through the matrix, block by block, in little memory: read ahead, project, cut, code, write."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TypeVar

import numpy as np

from matryoshka.encoder.progress import progress_bar
from matryoshka.errors import DataError, UserError
from matryoshka.projection.arrays import Others, write_header
from matryoshka.projection.codes import Array, Code, Encoding, Floats, lengths
from matryoshka.projection.saved import SavedProjection
from matryoshka.projection.vector_files import Vectors
from matryoshka.storage.atomic import saying_if_full, whole_file

AT_ONCE = 1 << 23  # bytes of vectors in float32: large enough for the product, small enough for the caches
HEADER = 4096  # bytes that an output has at most besides its vectors; Parquet says more of each row group
OUTPUTS = (".npy", ".parquet")
SHORTEST = 1e-15  # a length below or above what squares in float32 can tell: such rows are computed again in float64
LONGEST = 1e15
Item = TypeVar("Item")
Role = Literal["query", "document"]


@dataclass(frozen=True)
class Projected:
    """What was written. before, after: bytes of the files."""

    path: Path
    rows: int
    encoding: Encoding
    before: int
    after: int
    seconds: float

    def __str__(self) -> str:
        kind = f"{self.rows:,} rows, {self.encoding.dim} x {self.encoding.code}"
        return f"{self.path}: {kind}, {self.before / 1e6:,.1f} MB -> {self.after / 1e6:,.1f} MB, {self.seconds:.1f} s"


def project(
    saved: SavedProjection,
    vectors: Vectors,
    out: Path,
    dim: int | None = None,
    code: Code = "float32",
    role: Role | None = None,
) -> Projected:
    """Write x @ matrix of every row, cut to `dim`, of length 1, in the code's form; the file is there whole or not.

    dim: the full width by default. role: what the vectors are; matters where the matrix is for queries alone: documents
    are cut, and no more. Raises UserError for what does not fit, before anything is written where that can be known.
    """
    started = time.perf_counter()
    dim = saved.full if dim is None else dim
    _require_fit(saved, vectors, out, dim, role)
    encoding = saved.encoding(code, dim)
    _require_room(vectors, out, encoding)
    as_is = saved.side == "query" and role == "document"
    matrix_Dd = None if as_is else np.ascontiguousarray(saved.matrix_DE[:, :dim])
    blocks = vectors.blocks(max(1, AT_ONCE // (4 * vectors.width)), out.suffix.lower() == ".parquet")
    first = 0
    with saying_if_full(out), whole_file(out) as file, progress_bar("project", vectors.rows, "rows") as advance:
        output = _output(file, out, vectors, encoding)
        for x_ND, others in _ahead(blocks):
            y_Nd = _directions(x_ND, matrix_Dd, dim, vectors.where, first)
            output.write(encoding(y_Nd), others)
            first += len(x_ND)
            advance(len(x_ND))
        output.close()
    before, after = (path.stat().st_size for path in (vectors.path, out))
    return Projected(out, first, encoding, before, after, time.perf_counter() - started)


def _directions(x_ND: Array, matrix_Dd: Floats | None, dim: int, where: str, first: int) -> Floats:
    """The block's vectors after the matrix, or cut where there is none, of length 1. Raises DataError for a bad row.

    A number that is not finite makes its whole row so, and a row of zeros stays one: the lengths of what comes out tell
    both, for a fraction of the time that reading all numbers once more takes. What is cut away has to be looked at.
    """
    with np.errstate(all="ignore"):
        x_ND32: Floats = x_ND.astype(np.float32, copy=False)
        y_Nd = x_ND32[:, :dim].copy() if matrix_Dd is None else x_ND32 @ matrix_Dd
        length_N = lengths(y_Nd)
        y_Nd /= length_N[:, None]
    plain_N = (length_N > SHORTEST) & (length_N < LONGEST)
    if matrix_Dd is None:
        plain_N &= np.isfinite(lengths(x_ND32))
    for row in np.flatnonzero(~plain_N):
        y_Nd[row] = _direction(x_ND[row].astype(np.float64), matrix_Dd, dim, f"{where}, row {first + row}")
    return y_Nd


def _direction(x_D: Array, matrix_Dd: Floats | None, dim: int, where: str) -> Array:
    """The same of one row, in float64, whatever its length."""
    if not np.isfinite(x_D).all():
        place = int(np.isfinite(x_D).argmin())
        raise DataError(f"{where}: its number {place} is {x_D[place]}; leave the row out, or embed its text again")
    if not x_D.any():
        raise DataError(f"{where} is zeros, which have no direction; leave the row out, or embed its text again")
    x_D = x_D / np.abs(x_D).max()
    y_d: Array = x_D[:dim].copy() if matrix_Dd is None else x_D @ matrix_Dd.astype(np.float64)
    if not (length := np.sqrt(y_d @ y_d)):
        raise DataError(f"{where} has no direction in its first {dim} numbers, which are zeros; take a larger dim")
    y_d /= length
    return y_d


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Each item, while a thread makes the next one ready: files are read beside the product."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, items, None)
        while (item := following.result()) is not None:
            following = reader.submit(next, items, None)
            yield item


class Output(Protocol):
    """A file of codes that is written row by row."""

    def write(self, codes_NC: Array, others: Others) -> None:
        """Rows, in their order."""

    def close(self) -> None:
        """The file's end."""


class NpyOutput:
    """A .npy file whose header already says how many rows follow."""

    def __init__(self, file: BinaryIO, encoding: Encoding, rows: int) -> None:
        self.file = file
        write_header(file, encoding.dtype, rows, encoding.width)

    def write(self, codes_NC: Array, others: Others) -> None:
        """Rows, in their order."""
        self.file.write(np.ascontiguousarray(codes_NC).data)

    def close(self) -> None:
        """Nothing follows the rows."""


def _output(file: BinaryIO, out: Path, vectors: Vectors, encoding: Encoding) -> Output:
    if out.suffix.lower() == ".npy":
        return NpyOutput(file, encoding, vectors.rows)
    from matryoshka.projection.parquet import ParquetOutput  # pyarrow takes 70 MB of memory

    return ParquetOutput(file, encoding, vectors.column, vectors.others)


def _require_fit(saved: SavedProjection, vectors: Vectors, out: Path, dim: int, role: Role | None) -> None:
    """Raise UserError for an input, output or dim that is not the matrix's."""
    if out.suffix.lower() not in OUTPUTS:
        raise UserError(f"{out}: vectors are written to {' and '.join(OUTPUTS)} files; give it such an ending")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file in it")
    if out.exists() and out.samefile(vectors.path):
        raise UserError(f"{out} is the input as well; name another file for what is written")
    if vectors.width != saved.width:
        raise UserError(f"{vectors.where} has vectors of {vectors.width} numbers, and the matrix takes {saved.width}")
    if not 1 <= dim <= saved.full:
        raise UserError(f"dim={dim} is not within 1 and {saved.full}, the width that the matrix gives")
    if saved.side == "query" and role is None:
        raise UserError("this matrix is for queries alone; say side=query or side=document")


def _require_room(vectors: Vectors, out: Path, encoding: Encoding) -> None:
    """Raise UserError where the disk has less room than the output takes."""
    needed = HEADER + vectors.rows * encoding.row_bytes
    if out.suffix.lower() == ".parquet":
        needed += vectors.other_bytes
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"{out} takes {needed / 1e6:,.1f} MB, and {folder} has {free / 1e6:,.1f} MB free; make room, or take a "
            "smaller dim or dtype"
        )
