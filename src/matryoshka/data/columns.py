"""Columns of a file of pairs: those that are missing, and the ids of its rows."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from matryoshka.data.question_file import LAYOUT, is_question_file
from matryoshka.data.reading.form import TextForm
from matryoshka.data.reading.rows import first_row
from matryoshka.data.reading.separator import read_with
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def file_problems(
    key: str, path: str, columns: Sequence[str], form: TextForm, of_row: Callable[..., Iterator[str]]
) -> Iterator[tuple[str, str]]:
    """A file that cannot be read, and what is wrong with its first row, as (key, message), from that row alone.

    columns: those that are wanted. of_row: the row, the file's name and how it was read -> what is wrong with it.
    """
    if is_question_file(path, form):
        for column in columns[2:]:
            yield key, f"{path} has no column {column!r}; it is {LAYOUT}"
        return
    try:
        row = first_row(path, form, columns)
    except DataError as error:
        yield key, str(error)
        return
    told = read_with(path, form, columns)
    yield from ((key, what) for what in of_row(row, origin=path, told=told))


def row_ids(rows: Dataset, column: str | None, path: str) -> list[str]:
    """The ids of the rows, their numbers where no column has any. Raises DataError at one that is none, or repeated."""
    if column is None:
        return list(map(str, range(len(rows))))
    values = rows[column][:]
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            what = f"{column!r} is {reprlib.repr(value)}, no text and no number"
            raise DataError(f"{path}, row {number}: {what}; save the ids as texts")
    ids = list(map(str, values))
    if len(set(ids)) < len(ids):
        raise DataError(f"{path}: column {column!r} repeats an id; ids must be unique")
    return ids
