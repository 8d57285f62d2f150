"""Columns of lists, checked row by row: of texts, and of numbers."""

from __future__ import annotations

import ast
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
    return column in rows.column_names and "list" in str(rows.data.schema.field(column).type)


def texts_in(rows: Dataset, column: str, origin: str, *, empty: bool) -> Lists:
    """The texts of a column of lists, or of one text a row. empty: whether a row may have none.

    Raises DataError at the first row of which the cell is no list, or has anything but texts.
    """
    import pyarrow

    if column not in rows.column_names:
        raise DataError(f"{origin} {missing_column(column, rows.column_names)}")
    items, counts, start = [], [np.zeros(0, np.int64)], 0
    for chunk in rows.with_format("arrow")[column][:].chunks:
        if not _has_texts(chunk.type):
            raise DataError(f"{origin}, {_wrong_cell(rows, column)}")
        values, lengths = flat_cells(chunk)
        if str(chunk.type) in TEXTS:
            _require_no_written_lists(chunk, start, column, origin)
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


def flat_cells(chunk: Any) -> tuple[Any, npt.NDArray[np.int64]]:
    """The texts of an Arrow array of lists and how many each has; a text alone is a list of one, null an empty one."""
    import pyarrow
    import pyarrow.compute as compute

    if str(chunk.type) in TEXTS:
        return chunk.drop_null(), np.asarray(compute.is_valid(chunk)).astype(np.int64)
    if pyarrow.types.is_null(chunk.type):
        return pyarrow.array([], pyarrow.string()), np.zeros(len(chunk), np.int64)
    lengths = np.asarray(compute.fill_null(compute.list_value_length(chunk), 0)).astype(np.int64)
    items = chunk.flatten()
    return items.cast(pyarrow.string()) if pyarrow.types.is_null(items.type) else items, lengths


def _has_texts(kind: Any) -> bool:
    """Whether cells of an Arrow type are texts or lists of them; of nothing, too."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    return str(kind) in TEXTS or types.is_null(kind)


def _require_no_written_lists(chunk: Any, start: int, column: str, origin: str) -> None:
    """Raises DataError at a text that is a list of texts as Python or JSON writes it: CSV files cannot hold lists."""
    import pyarrow
    import pyarrow.compute as compute

    texts = compute.utf8_ltrim_whitespace(chunk.cast(pyarrow.large_string()))
    found = compute.fill_null(compute.starts_with(texts, "["), False)
    for place in compute.indices_nonzero(found).to_pylist():
        text = chunk[place].as_py()
        if _is_written_list(text):
            raise DataError(
                f"{origin}, row {start + place + 1}: {column!r} is {reprlib.repr(text)}, a list written as a text; "
                "lists of texts need JSON lines or Parquet"
            )


def _is_written_list(text: str) -> bool:
    try:
        items = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(items, list) and all(isinstance(item, str) for item in items)


def _wrong_cell(rows: Dataset, column: str) -> str:
    """The first row, of a column that is not of lists of texts, whose cell is none, and what it is."""
    for row, cell in enumerate(rows[column], start=1):
        if cell is not None and not isinstance(cell, list):
            return f"row {row}: {column!r} is {reprlib.repr(cell)}, not a list of texts; {AS_LIST}"
        for item in cell or ():
            if not isinstance(item, str):
                return f"row {row}: {column!r} has {reprlib.repr(item)}, not a text; {AS_LIST}"
    return f"{column!r} has {rows.features[column]}, no lists of texts; {AS_LIST}"


def _row_of(place: int, lengths: npt.NDArray[np.int64]) -> int:
    """The row of an item, from 0."""
    return int(np.searchsorted(np.cumsum(lengths), place, side="right"))
