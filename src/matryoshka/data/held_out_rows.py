"""Rows of an evaluation or dev file, of any layout, as pairs; and the texts of files that widen the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from matryoshka.data.labelled import by_anchor
from matryoshka.data.layouts import (
    FLAG_EMBEDDING,
    POSITIVES,
    PROMPT,
    Told,
    Wanted,
    document_column,
    held_out,
    layout_of,
)
from matryoshka.data.reading.lists import is_list, texts_in
from matryoshka.data.reading.rows import require_texts

if TYPE_CHECKING:
    from datasets import Dataset


def held_out_rows(rows: Dataset, wanted: Wanted, origin: str, told: Told, ids: str | None = None) -> Dataset:
    """Rows with one answer each, in columns of the wanted names; a list of answers becomes as many rows.

    ids: their column, of which each row keeps its value; of a list's answers it gets the place behind it. Of labelled
    rows the right ones are left. Raises DataError at an empty text and at what training_rows refuses.
    """
    layout = layout_of(rows.column_names, held_out(wanted, rows.column_names), origin)
    if layout.said:
        told(f"{origin}: {layout.said}")
    if PROMPT in rows.column_names and (layout.anchor, layout.positive) == FLAG_EMBEDDING:
        told(f"{origin}: its prompts are not read; what stands in front of a query is the model's own, encoder.prompts")
    if layout.label:
        rows = by_anchor(rows, layout, wanted.threshold, origin, told)
        layout = replace(layout, anchor="anchor", positive=POSITIVES)
        rows = rows.add_column(ids, list(map(str, range(len(rows))))) if ids else rows  # anchors, not rows
    lists = (layout.anchor, layout.positive) == FLAG_EMBEDDING or is_list(rows, layout.positive)
    columns = {layout.anchor: wanted.anchor, layout.positive: wanted.positive, **({ids: ids} if ids else {})}
    if lists:
        return _one_each(require_texts(rows, [layout.anchor], origin), layout.positive, columns, origin, ids)
    require_texts(rows, [layout.anchor, layout.positive], origin)
    renamed = {old: new for old, new in columns.items() if old != new}
    return rows.select_columns(list(columns)).rename_columns(renamed) if renamed else rows


def document_texts(rows: Dataset, positive: str, origin: str) -> Sequence[str]:
    """The answers of a file that widens the corpus."""
    column = document_column(rows.column_names, positive)
    if column == FLAG_EMBEDDING[1] or (column in rows.column_names and is_list(rows, column)):
        texts: list[str] = texts_in(rows, column, origin, empty=False).items.to_pylist()
        return texts
    found: Sequence[str] = require_texts(rows, [column], origin)[column]
    return found


def _one_each(rows: Dataset, positive: str, columns: dict[str, str], origin: str, ids: str | None) -> Dataset:
    from datasets import Dataset

    lists = texts_in(rows, positive, origin, empty=False)
    of_row = np.repeat(np.arange(len(rows)), lists.counts).tolist()
    table = {new: [rows[old][row] for row in of_row] for old, new in columns.items() if old != positive}
    table[columns[positive]] = lists.items.to_pylist()
    if ids:
        places = (np.arange(len(of_row)) - np.repeat(lists.offsets[:-1], lists.counts)).tolist()
        table[ids] = [f"{name}-{place}" if place else str(name) for name, place in zip(table[ids], places, strict=True)]
    return Dataset.from_dict(table)
