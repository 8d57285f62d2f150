"""The one place that tells the texts and the numbers of training pairs apart."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from matryoshka.data.layouts import LISTS
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

CANDIDATE = re.compile(r"(positive|negative_\d+)_([a-z]\w*)")


def texts_and_numbers(rows: Dataset, name: str) -> tuple[Dataset, Dataset | None]:
    """The columns of texts (anchor, positive, negative_1 ...), and those of numbers; None if there are none.

    A column of numbers is named after a candidate and what it is: positive_teacher, negative_1_teacher. name: of the
    source. Lists to draw from stand beside them (see pools). Raises DataError for any other column of numbers.
    """
    rows = rows.select_columns([column for column in rows.column_names if column not in LISTS])
    numeric = [column for column in rows.column_names if _is_numeric(rows, column)]
    texts = [column for column in rows.column_names if column not in numeric]
    for column in numeric:
        match = CANDIDATE.fullmatch(column)
        if match is None or match[1] not in texts:
            raise DataError(
                f"{name}: column {column!r} has numbers and is not named after a candidate; leave it out, or call it "
                f"as in positive_teacher: one of {', '.join(texts[1:])}, then what the numbers are"
            )
    return rows.select_columns(texts), rows.select_columns(numeric) if numeric else None


def kinds(numbers: Dataset | None) -> set[str]:
    """The names under which losses ask for the numbers: teacher_BN for positive_teacher."""
    matches = [CANDIDATE.fullmatch(column) for column in numbers.column_names] if numbers is not None else []
    return {f"{match[2]}_BN" for match in matches if match}


def _is_numeric(rows: Dataset, column: str) -> bool:
    kind = str(getattr(rows.features[column], "dtype", ""))
    return kind.startswith(("int", "uint", "float", "double", "bool"))


def drawn_pairs(rows: Dataset, at_most: int | None) -> Dataset:
    """So many of the rows, in their order: always the same ones, and fewer are among more. None: all."""
    if at_most is None or at_most >= len(rows):
        return rows
    return rows.select(sorted(random.Random(0).sample(range(len(rows)), len(rows))[:at_most]))
