"""Vectors in Parquet files, batch by batch: a column of lists of floats; other columns are handed on as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matryoshka.errors import DataError
from matryoshka.projection.arrays import Block
from matryoshka.projection.codes import Array, Encoding

READ_AT_ONCE = 1 << 20  # bytes of a column: without it a whole row group, which may be the whole file
WRITTEN_AT_ONCE = 1 << 22  # numbers of vectors in a row group
ARROW = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8(), "binary": pa.uint8()}


@dataclass(frozen=True)
class ParquetFile:
    """A column of vectors (rows, width). other_bytes: what the file's other columns take, not compressed."""

    path: Path
    where: str
    rows: int
    width: int
    dtype: np.dtype[Any]
    column: str
    other_bytes: int

    @property
    def others(self) -> pa.Schema:
        """The other columns."""
        schema = pq.read_schema(self.path)
        return pa.schema([field for field in schema if field.name != self.column])

    def blocks(self, rows: int, others: bool = False, kept: int = 1) -> Iterator[Block]:
        """So many rows at a time, with the other columns as a RecordBatch where they are wanted."""
        columns = None if others else [self.column]
        first = 0
        try:
            with pq.ParquetFile(self.path, buffer_size=READ_AT_ONCE, pre_buffer=False) as file:
                for batch in file.iter_batches(rows, columns=columns):
                    vectors = batch.column(self.column)
                    rest = batch.drop_columns([self.column]) if others else None
                    yield self._matrix(vectors, first), rest
                    first += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.where} cannot be read after row {first - 1}: {error}") from error

    def mapped(self) -> None:
        """Parquet cannot be mapped."""

    def _matrix(self, vectors: pa.Array, first: int) -> Array:
        """A column's part as (N, D). Raises DataError for rows without a vector or of another width."""
        if vectors.null_count:
            row = int(vectors.is_null().to_numpy(zero_copy_only=False).argmax())
            raise DataError(f"{self.where}, row {first + row} has no vector (null)")
        if not pa.types.is_fixed_size_list(vectors.type):
            sizes_N = vectors.value_lengths().to_numpy(zero_copy_only=False)
            if (wrong_N := sizes_N != self.width).any():
                row = int(wrong_N.argmax())
                width = f"a vector of {sizes_N[row]} numbers; row 0 has {self.width}"
                raise DataError(f"{self.where}, row {first + row} has {width}")
        numbers = vectors.flatten()
        if numbers.null_count:
            row = int(numbers.is_null().to_numpy(zero_copy_only=False).argmax()) // self.width
            raise DataError(f"{self.where}, row {first + row} has a number that is missing (null)")
        x_ND: Array = numbers.to_numpy().reshape(-1, self.width)
        return x_ND


def parquet_file(path: Path, name: str | None = None) -> ParquetFile:
    """What a Parquet file says it has. Raises DataError for a file without vectors, or with several columns of them."""
    try:
        with pq.ParquetFile(path, buffer_size=READ_AT_ONCE, pre_buffer=False) as file:
            field = _column(path, file.schema_arrow, name)
            where, rows = f"{path}:{field.name}", file.metadata.num_rows
            if not rows:
                raise DataError(f"{path} has no rows")
            first = next(file.iter_batches(1, columns=[field.name])).column(field.name)
            other_bytes = sum(
                group.column(place).total_uncompressed_size
                for group in map(file.metadata.row_group, range(file.metadata.num_row_groups))
                for place in range(group.num_columns)
                if group.column(place).path_in_schema.partition(".")[0] != field.name
            )
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged or no Parquet file: {error}") from error
    if first.null_count or not (width := len(first[0])):
        raise DataError(f"{where}, row 0 has no vector")
    dtype = np.dtype(field.type.value_type.to_pandas_dtype())
    return ParquetFile(path, where, rows, width, dtype, field.name, other_bytes)


def _column(path: Path, schema: pa.Schema, name: str | None) -> pa.Field:
    """The column that is meant."""
    vectors = [field.name for field in schema if _is_vectors(field.type)]
    if name is not None:
        if name not in schema.names:
            raise DataError(f"{path} has no column {name}; vectors are in {', '.join(vectors) or 'none'}")
        if name not in vectors:
            raise DataError(f"{path}:{name} has {schema.field(name).type}; vectors are lists of floats")
        return schema.field(name)
    if len(vectors) != 1:
        which = f"; name one, {path}:{vectors[0]}" if vectors else "; vectors are lists of floats"
        raise DataError(f"{path} has {len(vectors)} columns of vectors ({', '.join(vectors) or 'none'}){which}")
    return schema.field(vectors[0])


def _is_vectors(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and pa.types.is_floating(kind.value_type))


class ParquetOutput:
    """Writes codes, and the other columns beside them, into a file, in row groups of some megabytes."""

    def __init__(self, file: BinaryIO, encoding: Encoding, column: str, others: pa.Schema | None) -> None:
        vectors = pa.list_(ARROW[encoding.code], encoding.width)
        self.schema = pa.schema([*(others or []), pa.field(column, vectors)])
        self.kind, self.width = vectors, encoding.width
        self.most = max(1, WRITTEN_AT_ONCE // encoding.width)
        self.waiting: list[pa.RecordBatch] = []
        # Parquet's integers have 4 bytes: by a dictionary of 256 entries a code takes one. Floats repeat nothing.
        dictionary = True if encoding.dtype.itemsize == 1 else (others or pa.schema([])).names
        self.writer = pq.ParquetWriter(file, self.schema, use_dictionary=dictionary)

    def write(self, codes_NC: Array, others: pa.RecordBatch | None) -> None:
        """Rows, in their order."""
        numbers = pa.array(np.array(codes_NC).reshape(-1), self.kind.value_type)
        vectors = pa.FixedSizeListArray.from_arrays(numbers, type=self.kind)
        columns = [*(others.columns if others else []), vectors]
        self.waiting.append(pa.RecordBatch.from_arrays(columns, schema=self.schema))
        if sum(map(len, self.waiting)) >= self.most:
            self._write_group()

    def close(self) -> None:
        """What is left, and the file's end."""
        if self.waiting:
            self._write_group()
        self.writer.close()

    def _write_group(self) -> None:
        self.writer.write_table(pa.Table.from_batches(self.waiting))
        self.waiting.clear()
