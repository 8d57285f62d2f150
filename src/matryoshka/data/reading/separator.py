"""What stands between the cells of a CSV or TSV file."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from matryoshka.data.reading.files import ending, opened, state
from matryoshka.data.reading.form import TextForm

USUAL = {".csv": ",", ".tsv": "\t"}
TRIED = (",", ";", "\t", "|")
ROWS, LINES = 100, 1000  # that are looked at


def separator_of(file: Path, form: TextForm, columns: Sequence[str] = ()) -> str:
    """The form's; else the one of , ; tab | whose header names most of the columns.

    Of several, one that cuts the first rows into equally many cells, two at least, and then the ending's own.
    Quotes are respected.
    """
    return _found(file, state(file), form, tuple(columns)) if form.between is None else form.between


@lru_cache(maxsize=64)  # a file is asked about when it is checked, told of and read
def _found(file: Path, state: str, form: TextForm, columns: tuple[str, ...]) -> str:
    """state: of the file, so that a changed one is looked at again."""
    usual = USUAL[ending(file.name)]
    with opened(file, form) as content, io.TextIOWrapper(content, "utf-8-sig", "replace", newline="") as text:
        lines = list(itertools.islice(text, LINES))  # who reads the file says where it is not UTF-8

    def fitness(separator: str) -> tuple[int, bool, bool]:
        rows = _rows(lines, separator)
        counts = {len(row) for row in rows}
        named = sum(column in rows[0] for column in columns) if rows else 0
        return named, len(counts) == 1 and min(counts) > 1, separator == usual

    return max(TRIED, key=fitness)


def read_with(path: str, form: TextForm, columns: Sequence[str] = ()) -> str:
    """What a message says of how a CSV or TSV file was read; of other files nothing."""
    return form.told(separator_of(Path(path), form, columns)) if ending(path) in USUAL else ""


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The first rows that have cells, as far as they can be cut."""
    rows: list[list[str]] = []
    try:
        for row in itertools.islice(csv.reader(lines, delimiter=separator), ROWS):
            rows += [row] if row else []
    except csv.Error:
        pass
    return rows
