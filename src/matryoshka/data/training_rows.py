"""Rows of a training file, of any layout, as a source gives them: columns of texts, and lists to draw from."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from matryoshka.data.labelled import by_anchor
from matryoshka.data.layouts import (
    FLAG_EMBEDDING,
    LISTS,
    NEGATIVES,
    POSITIVES,
    PROMPT,
    SCORES,
    Layout,
    Told,
    Wanted,
    layout_of,
)
from matryoshka.data.pairs import drawn_pairs
from matryoshka.data.pools import pooled
from matryoshka.data.reading.lists import is_list, numbers_in, texts_in
from matryoshka.data.reading.numbers import require_numbers
from matryoshka.data.reading.rows import require_texts
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

CANDIDATE_COLUMN = re.compile(r"negative_\d+")


def training_rows(rows: Dataset, wanted: Wanted, origin: str, told: Told, at_most: int | None = None) -> Dataset:
    """Columns anchor, positive, negative_1 ..., their numbers, and where rows have more of them the lists of pools.

    origin: what messages name. told: takes a line on what the rows were read as. at_most: as of drawn_pairs; of
    labelled pairs the anchors. Raises DataError for what is wrong, with its row.
    """
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()  # a thousand rows a second need none
    layout = layout_of(rows.column_names, wanted, origin)
    if layout.said:
        told(layout.said)
    if layout.label:
        grouped = by_anchor(rows, layout, wanted.threshold, origin, told)
        return _with_lists(
            drawn_pairs(grouped, at_most), {name: name for name in grouped.column_names}, wanted, origin, told
        )
    rows = drawn_pairs(rows, at_most)
    candidates = (layout.positive, *layout.negatives)
    if (layout.anchor, layout.positive) == FLAG_EMBEDDING or any(is_list(rows, column) for column in candidates):
        return _of_lists(rows, layout, wanted, origin, told)
    given = training_columns(rows, layout, origin, wanted.numbers)
    if wanted.negatives_per_row is None or wanted.negatives_per_row >= len(layout.negatives):
        return given
    return _of_columns(given, wanted, origin, told)


def training_columns(rows: Dataset, layout: Layout, origin: str, numbers: Sequence[str] = ()) -> Dataset:
    """These columns as anchor, positive, negative_1 ..., and their numbers as positive_teacher, negative_1_teacher ....

    Raises DataError at a missing column, at an empty text and at what is no number.
    """
    columns = {layout.anchor: "anchor", layout.positive: "positive"}
    columns |= {column: f"negative_{i}" for i, column in enumerate(layout.negatives, start=1)}
    require_texts(rows, list(columns), origin)
    candidates = {old: new for old, new in columns.items() if new != "anchor"}
    scores = {f"{old}_{kind}": f"{new}_{kind}" for old, new in candidates.items() for kind in numbers}
    require_numbers(rows, list(scores), origin)
    return rows.select_columns([*columns, *scores]).rename_columns(columns | scores)


def _of_lists(rows: Dataset, layout: Layout, wanted: Wanted, origin: str, told: Told) -> Dataset:
    """Rows whose answers are lists, with a list of scores for each where there is one."""
    if len(layout.negatives) > 1:
        raise DataError(
            f"{origin}: columns {', '.join(map(repr, layout.negatives))} beside lists of texts; keep one of "
            "them, a list of all negatives, and name it: data.negatives=[neg]"
        )
    if wanted.numbers:
        scores_of = " and ".join(f"{column}_scores" for column in (layout.positive, *layout.negatives))
        raise DataError(f"{origin}: data.numbers is of columns of texts; lists have theirs in {scores_of}")
    require_texts(rows, [layout.anchor], origin)
    columns = {"anchor": layout.anchor, POSITIVES: layout.positive}
    columns |= {NEGATIVES: layout.negatives[0]} if layout.negatives else {}
    scores = {SCORES[side]: f"{columns[side]}_scores" for side in SCORES if side in columns}
    scores = {name: column for name, column in scores.items() if column in rows.column_names}
    if scores:
        told(f"{' and '.join(scores.values())} are a teacher's scores, for a loss that takes teacher_BN")
    prompts = {PROMPT: PROMPT} if PROMPT in rows.column_names and layout.positive == FLAG_EMBEDDING[1] else {}
    for number, prompt in enumerate(rows[PROMPT] if prompts else (), start=1):
        if prompt is not None and not isinstance(prompt, str):
            raise DataError(
                f"{origin}, row {number}: {PROMPT!r} is {reprlib.repr(prompt)}, not a text; put it in quotes"
            )
    return _with_lists(rows, columns | scores | prompts, wanted, origin, told)


def _with_lists(rows: Dataset, columns: Mapping[str, str], wanted: Wanted, origin: str, told: Told) -> Dataset:
    """columns: what stands for anchor, POSITIVES, NEGATIVES and SCORES."""
    sides = {side: texts_in(rows, columns[side], origin, empty=side == NEGATIVES) for side in SCORES if side in columns}
    for side in sides:
        if SCORES[side] in columns:
            numbers_in(rows, columns[SCORES[side]], origin, sides[side].counts, columns[side])
    return pooled(rows, columns, sides, wanted.negatives_per_row, told)


def as_lists(rows: Dataset) -> Dataset:
    """A source's rows as lists alone: columns anchor, positives, negatives and what else of LISTS they have.

    Of rows with one text a column, and no numbers, each list has the texts of the columns: so rows of several sources
    can stand below each other, for `pooled` to make columns of.
    """
    if POSITIVES in rows.column_names:
        return rows.select_columns(["anchor", *(name for name in LISTS if name in rows.column_names)])
    given = rows.with_format("arrow")
    lists = given.map(_joined, batched=True, remove_columns=rows.column_names)
    return lists.with_format(None)


def _of_columns(given: Dataset, wanted: Wanted, origin: str, told: Told) -> Dataset:
    """n-tuples of which fewer negatives are drawn than there are."""
    if wanted.numbers:
        raise DataError(f"{origin}: data.numbers goes with all columns of negatives; leave data.negatives_per_row=null")
    return _with_lists(as_lists(given), {n: n for n in ("anchor", POSITIVES, NEGATIVES)}, wanted, origin, told)


def _joined(table: Any) -> Any:
    """An Arrow table of a source's columns as one of lists."""
    import pyarrow

    negatives = [name for name in table.column_names if CANDIDATE_COLUMN.fullmatch(name)]
    made, rows = {"anchor": table["anchor"].combine_chunks().cast(pyarrow.large_string())}, len(table)
    for side, names in ((POSITIVES, ["positive"]), (NEGATIVES, negatives)):
        texts = [table[name].combine_chunks().cast(pyarrow.large_string()) for name in names]
        places = np.arange(rows * len(texts)).reshape(len(texts), rows).T.reshape(-1)
        items = pyarrow.concat_arrays(texts) if texts else pyarrow.array([], pyarrow.large_string())
        offsets = pyarrow.array(np.arange(rows + 1) * len(texts))
        made[side] = pyarrow.LargeListArray.from_arrays(offsets, items.take(pyarrow.array(places)))
    return pyarrow.table(made)
