"""Columns of numbers, checked row by row."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matryoshka.data.reading.rows import missing_column
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def require_numbers(rows: Dataset, columns: Sequence[str], origin: str) -> None:
    """Raises DataError at a column that is missing, and at the first row of one that is no finite number."""
    for column in columns:
        if column not in rows.column_names:
            raise DataError(f"{origin} {missing_column(column, rows.column_names)}")
        for number, value in enumerate(rows[column], start=1):
            if not isinstance(value, int | float) or not math.isfinite(value):
                shown = reprlib.repr(value)
                remedy = "give every row a number; of CSV files every cell is a text, so use JSON lines or Parquet"
                raise DataError(f"{origin}, row {number}: {column!r} is {shown}, not a number; {remedy}")
