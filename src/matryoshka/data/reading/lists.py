"""Columns of lists, checked row by row: of texts, and of numbers."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from matryoshka.data.reading.rows import TEXTS, missing_column, not_a_text
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

AS_LIST = 'write a list of texts, as in ["...", "..."]'


@dataclass(frozen=True)
class Lists:
    """The items of a column's lists one after another, an Arrow array, and how many each row has."""

    items: Any
    counts: npt.NDArray[np.int64]

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each row's begin, and the end of the last."""
        return np.concatenate([[0], np.cumsum(self.counts)])


def is_list(rows: Dataset, column: str) -> bool:
    """Whether a column has lists."""
    return "list" in str(rows.data.schema.field(column).type)


def texts_in(rows: Dataset, column: str, origin: str, *, empty: bool) -> Lists:
    """The texts of a column of lists, or of one text a row. empty: whether a row may have none.

    Raises DataError at the first row of which the cell is no list, or has anything but texts.
    """
    import pyarrow

    if column not in rows.column_names:
        raise DataError(f"{origin} {missing_column(column, rows.column_names)}")
    items, counts, start = [], [np.zeros(0, np.int64)], 0
    for chunk in rows.with_format("arrow")[column][:].chunks:
        try:
            values, lengths = flat_cells(chunk)
        except _WrongCellError as error:
            raise DataError(f"{origin}, row {start + error.row + 1}: {column!r} {error}") from None
        if not empty and not lengths.all():
            row = start + int(np.argmin(lengths)) + 1
            raise DataError(f"{origin}, row {row}: {column!r} is empty; give the row a text there, or remove it")
        place, what = not_a_text(values, blank=False)
        if what:
            row = start + _row_of(place, lengths) + 1
            raise DataError(f"{origin}, row {row}: {column!r} has a text that {what}")
        items.append(values.cast(pyarrow.large_string()))
        counts.append(lengths)
        start += len(lengths)
    whole = pyarrow.chunked_array(items, pyarrow.large_string()).combine_chunks()
    return Lists(whole, np.concatenate(counts))


def numbers_in(rows: Dataset, column: str, origin: str, counts: npt.NDArray[np.int64], of: str) -> Lists:
    """The numbers of a column of lists, as many in each row as `of`, the column of the texts, has.

    Raises DataError at the first row where they are not, and at what is no finite number.
    """
    import pyarrow

    lists = rows.with_format("arrow")[column][:]
    for row, (cell, count) in enumerate(zip(rows[column], counts.tolist(), strict=True), start=1):
        values = [] if cell is None else cell
        place = f"{origin}, row {row}: {column!r}"
        if not isinstance(values, list):
            raise DataError(f"{place} is {reprlib.repr(cell)}, not a list; write a number for each of {of!r}")
        if len(values) != count:
            raise DataError(f"{place} has {len(values)} numbers for the {count} of {of!r}; give each its own")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise DataError(f"{place} has {reprlib.repr(value)}, not a number; write a number for each of {of!r}")
    flat = [chunk.flatten() for chunk in lists.chunks if pyarrow.types.is_nested(chunk.type)]
    whole = pyarrow.chunked_array([x.cast(pyarrow.float64()) for x in flat], pyarrow.float64()).combine_chunks()
    return Lists(whole, counts)


class _WrongCellError(Exception):
    """A cell that is no list of texts: its row in the chunk, from 0, and what is wrong."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(what)
        self.row = row


def flat_cells(chunk: Any) -> tuple[Any, npt.NDArray[np.int64]]:
    """The items of an Arrow array of lists and how many each has; a text counts as a list of one, null as an empty one."""
    import pyarrow
    import pyarrow.compute as compute
    from pyarrow import types

    if str(chunk.type) in TEXTS:
        return chunk.drop_null(), np.asarray(compute.is_valid(chunk)).astype(np.int64)
    if types.is_null(chunk.type):
        return pyarrow.array([], pyarrow.string()), np.zeros(len(chunk), np.int64)
    if not (types.is_list(chunk.type) or types.is_large_list(chunk.type) or types.is_fixed_size_list(chunk.type)):
        row, value = next(((i, v) for i, v in enumerate(chunk.to_pylist()) if v is not None), (0, None))
        raise _WrongCellError(row, f"is {reprlib.repr(value)}, not a list of texts; {AS_LIST}")
    lengths = np.asarray(compute.fill_null(compute.list_value_length(chunk), 0)).astype(np.int64)
    items = chunk.flatten()
    if types.is_null(items.type) and not len(items):
        return items.cast(pyarrow.string()), lengths
    if str(items.type) not in TEXTS:
        values = items.to_pylist()
        place = next((i for i, value in enumerate(values) if value is not None), 0)
        what = f"has {reprlib.repr(values[place]) if values else items.type}, not a text; {AS_LIST}"
        raise _WrongCellError(_row_of(place, lengths), what)
    return items, lengths


def _row_of(place: int, lengths: npt.NDArray[np.int64]) -> int:
    """The row of an item, from 0."""
    return int(np.searchsorted(np.cumsum(lengths), place, side="right"))
