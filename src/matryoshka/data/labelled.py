"""Labelled pairs: rows that say whether a text answers an anchor, brought together by their anchors."""

from __future__ import annotations

import math
import reprlib
from typing import TYPE_CHECKING, Any

from matryoshka.data.layouts import NEGATIVES, POSITIVES, SCORES, Layout, Told
from matryoshka.data.reading.rows import missing_column, require_texts
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def by_anchor(rows: Dataset, layout: Layout, threshold: float | None, origin: str, told: Told) -> Dataset:
    """One row an anchor, in the order of its first: `anchor`, `positives`, `negatives`, and their scores where graded.

    A label of 1 is a positive, one of 0 a negative. threshold: from which number on a text is a positive; the numbers
    are the teacher's scores then. Anchors without a positive are left out, which is told. Raises DataError at a label
    that is neither, at a text with two labels, and where no anchor has a positive.
    """
    from datasets import Dataset, Features, Value
    from datasets import List as ListOf

    assert layout.label is not None
    require_texts(rows, [layout.anchor, layout.positive], origin)
    if layout.label not in rows.column_names:
        raise DataError(f"{origin} {missing_column(layout.label, rows.column_names)}")
    found: dict[str, dict[str, float]] = {}
    columns = (rows[name] for name in (layout.anchor, layout.positive, layout.label))
    for number, (anchor, text, value) in enumerate(zip(*columns, strict=True), start=1):
        place = f"{origin}, row {number}: {layout.label!r}"
        score = _number(value, place, threshold)
        if found.setdefault(anchor, {}).setdefault(text, score) != score:
            before = found[anchor][text]
            raise DataError(
                f"{place} is {score:g}, and an earlier row of the same texts has {before:g}; keep one of them"
            )
    border = 1.0 if threshold is None else threshold
    answered = {anchor: texts for anchor, texts in found.items() if any(score >= border for score in texts.values())}
    if not answered:
        most = max((score for texts in found.values() for score in texts.values()), default=0)
        raise DataError(
            f"{origin}: no row has a {layout.label} of {border:g} or more (the highest is {most:g}); "
            "no anchor has a right answer"
        )
    if left := len(found) - len(answered):
        told(f"{left:,} of {len(found):,} anchors have no right answer and are left out")
    table: dict[str, list[Any]] = {"anchor": list(answered), POSITIVES: [], NEGATIVES: [], **_lists(threshold)}
    for texts in answered.values():
        for side, right in ((POSITIVES, True), (NEGATIVES, False)):
            own = {text: score for text, score in texts.items() if (score >= border) == right}
            table[side].append(list(own))
            if threshold is not None:
                table[SCORES[side]].append(list(own.values()))
    texts_type, numbers_type = ListOf(Value("large_string")), ListOf(Value("float64"))
    kinds = {name: numbers_type if name in SCORES.values() else texts_type for name in table if name != "anchor"}
    return Dataset.from_dict(table, features=Features({"anchor": Value("large_string"), **kinds}))


def _lists(threshold: float | None) -> dict[str, list[Any]]:
    return {} if threshold is None else {name: [] for name in SCORES.values()}


def _number(value: Any, place: str, threshold: float | None) -> float:
    try:
        number = math.nan if value is None else float(value)  # of CSV files every cell is a text
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{place} is {reprlib.repr(value)}, not a number; write 1 for a right "
            "answer, 0 for a wrong one, decimals behind a point, or call the column otherwise"
        )
    if threshold is None and number not in (0, 1):
        raise DataError(
            f"{place} is {number:g}, neither 0 nor 1; with data.threshold={_example(number)} texts from there on are "
            "right answers and others wrong ones, and the numbers are a teacher's scores"
        )
    return number


def _example(number: float) -> str:
    return "0.5" if 0 < number < 1 else f"{number:g}"
