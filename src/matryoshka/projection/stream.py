"""Millions of vectors through the matrix, block by block, in little memory: read ahead, project, cut, code, write."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TypeVar

import numpy as np

from matryoshka.encoder.progress import progress_bar
from matryoshka.errors import UserError
from matryoshka.projection.arrays import Block, Others, write_header
from matryoshka.projection.codes import Array, Code, Encoding
from matryoshka.projection.directions import directions
from matryoshka.projection.saved import SavedProjection
from matryoshka.projection.vector_files import Vectors
from matryoshka.storage.atomic import saying_if_full, whole_file

AT_ONCE = 1 << 22  # bytes of vectors in float32: large enough for the product, small enough for the caches
HEADER = 4096  # bytes that an output has at most besides its vectors; Parquet says more of each row group
OUTPUTS = (".npy", ".parquet")
MOST_WORKERS = 8  # threads: a disk is slower than the products of more, and each has a block in memory
Item = TypeVar("Item")
Result = TypeVar("Result")
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
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    blocks = vectors.blocks(max(1, AT_ONCE // (4 * vectors.width)), out.suffix.lower() == ".parquet", workers + 3)

    def coded(block: tuple[int, Block]) -> Block:
        first, (x_ND, others) = block
        return encoding(directions(x_ND, matrix_Dd, dim, vectors.where, first)), others

    rows = 0
    with saying_if_full(out), whole_file(out) as file, progress_bar("project", vectors.rows, "rows") as advance:
        output = _output(file, out, vectors, encoding)
        for codes_NC, others in _in_order(coded, _counted(blocks), workers):
            output.write(codes_NC, others)
            rows += len(codes_NC)
            advance(len(codes_NC))
        output.close()
    before, after = (path.stat().st_size for path in (vectors.path, out))
    return Projected(out, rows, encoding, before, after, time.perf_counter() - started)


def _counted(blocks: Iterable[Block]) -> Iterator[tuple[int, Block]]:
    """Each block with the number of its first row."""
    first = 0
    for block in blocks:
        yield first, block
        first += len(block[0])


def _in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The work of each item, in their order; at most 2 more than there are workers are in hand.

    A block a thread, instead of all threads at one product: where another process takes a core away, BLAS's threads
    wait for the slowest of them at every block, and these do not.
    """
    begun: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > workers + 1:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


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
    """Raise UserError where the output cannot be written, or takes more room than the disk has."""
    needed = HEADER + vectors.rows * encoding.row_bytes
    if out.suffix.lower() == ".parquet":
        needed += vectors.other_bytes
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UserError(f"{out}: {folder} is no folder that can be written; name another")
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"{out} takes {needed / 1e6:,.1f} MB, and {folder} has {free / 1e6:,.1f} MB free; make room, or take a "
            "smaller dim or dtype"
        )
