"""Rows with several right answers and any number of wrong ones, of which each epoch draws some (see draws)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from matryoshka.data.layouts import LISTS, NEGATIVES, POSITIVES, PROMPT, SCORES, Told
from matryoshka.data.reading.lists import Lists, flat_cells, texts_in

if TYPE_CHECKING:
    from datasets import Dataset

MOST = 7  # negatives a row if none are asked for: FlagEmbedding's usual number


@dataclass(frozen=True)
class Pool:
    """One side: row i has the documents `documents[offsets[i]:offsets[i + 1]]`. scores: of each; NaN is unknown."""

    offsets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32] | None = None

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Documents of each row."""
        return np.diff(self.offsets)

    def of(self, row: int) -> npt.NDArray[np.int64]:
        """The documents of a row."""
        return self.documents[self.offsets[row] : self.offsets[row + 1]]

    def select(self, rows: Sequence[int]) -> Pool:
        """These rows alone, in their order."""
        counts, starts = self.counts[rows], self.offsets[:-1][rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        return Pool(offsets, self.documents[places], None if self.scores is None else self.scores[places])


@dataclass(frozen=True)
class Pools:
    """All positives and negatives of rows. texts: the documents, each distinct text once, by their numbers.

    prompts: what stands in front of each row's anchor, in place of the encoder's prompt; empty if the rows have none.
    """

    texts: Sequence[str]
    positives: Pool
    negatives: Pool
    prompts: Sequence[str] = ()

    @classmethod
    def of(cls, rows: Dataset) -> Pools | None:
        """Those of a source's rows; None where each has the texts of its columns alone."""
        import pyarrow

        if POSITIVES not in rows.column_names:
            return None
        sides = [
            texts_in(rows, column, "", empty=True) for column in (POSITIVES, NEGATIVES) if column in rows.column_names
        ]
        if len(sides) == 1:
            sides.append(Lists(sides[0].items[:0], np.zeros(len(rows), np.int64)))
        both = pyarrow.concat_arrays([side.items for side in sides]).dictionary_encode()
        documents = np.split(np.asarray(both.indices).astype(np.int64), [len(sides[0].items)])
        right, wrong = (
            Pool(side.offsets, part, _scores(rows, SCORES[name]))
            for side, part, name in zip(sides, documents, SCORES, strict=True)
        )
        prompts = [prompt or "" for prompt in rows[PROMPT]] if PROMPT in rows.column_names else []
        return cls(both.dictionary.to_pylist(), right, wrong, prompts if any(prompts) else [])

    def __len__(self) -> int:
        return len(self.positives.offsets) - 1

    @property
    def kinds(self) -> set[str]:
        """The names under which losses ask for what is known of the documents (see pairs)."""
        scored = any(side.scores is not None for side in (self.positives, self.negatives))
        return {"teacher_BN"} if scored else set()

    def select(self, rows: Sequence[int]) -> Pools:
        """These rows alone, in their order."""
        prompts = [self.prompts[row] for row in rows] if self.prompts else []
        return Pools(self.texts, self.positives.select(rows), self.negatives.select(rows), prompts)

    def answers(self, anchors: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Every anchor of the rows with each of its positives."""
        return ((anchor, text) for row, anchor in enumerate(anchors) for text in self.positives_of(row))

    def positives_of(self, row: int) -> list[str]:
        """All texts that answer the row's anchor."""
        return [self.texts[number] for number in self.positives.of(row)]

    def texts_of(self, row: int) -> list[str]:
        """All texts of a row but its anchor."""
        return [*self.positives_of(row), *(self.texts[number] for number in self.negatives.of(row))]


def pooled(
    rows: Dataset, columns: Mapping[str, str], sides: Mapping[str, Lists], wanted: int | None, told: Told
) -> Dataset:
    """Rows with lists as a source gives them: anchor, positive, negative_1 ..., the first of each list; then the lists.

    columns: what stands for anchor, POSITIVES, NEGATIVES and SCORES. sides: the texts of POSITIVES and NEGATIVES.
    wanted: negatives a row; None for the usual number. Where a row has fewer negatives, its own come again, or its
    positive: the loss leaves them out.
    """
    from datasets import concatenate_datasets

    right, wrong = sides[POSITIVES].counts, sides[NEGATIVES].counts if NEGATIVES in sides else np.zeros(0, np.int64)
    most = int(wrong.max(initial=0))
    number = min(most, usual_number(wrong) if wanted is None else wanted)
    _tell(right, wrong, number, told)
    sources = (columns[POSITIVES], columns.get(NEGATIVES))
    first = rows.with_format("arrow").map(
        partial(_first, columns=sources, number=number), batched=True, remove_columns=rows.column_names
    )
    lists = rows.select_columns(list(columns.values())).rename_columns({old: new for new, old in columns.items()})
    whole = concatenate_datasets([lists, first.with_format(None)], axis=1)
    return whole.select_columns(["anchor", *first.column_names, *(name for name in LISTS if name in columns)])


def _tell(right: npt.NDArray[np.int64], wrong: npt.NDArray[np.int64], number: int, told: Told) -> None:
    """What an epoch takes of each row."""
    most, answers = int(wrong.max(initial=0)), int(right.max(initial=1))
    taken = [f"one of up to {answers} positives" if answers > 1 else "its positive"]
    taken += [f"{number} of up to {most} negatives" if number < most else f"its {most} negatives"] if most else []
    told(f"of each row an epoch takes {' and '.join(taken)}")
    if few := int((wrong < number).sum()):
        fewer = f"; data.negatives_per_row={number - 1} repeats fewer" if number > 1 else ""
        theirs = f"have fewer than {number} negatives: theirs are repeated, and count once"
        told(f"{few:,} of {len(right):,} rows {theirs}{fewer}")


def usual_number(counts: npt.NDArray[np.int64]) -> int:
    """As many negatives as half of the rows with any have, MOST at most."""
    some = counts[counts > 0]
    return min(MOST, int(np.median(some))) if len(some) else 0


def _first(table: Any, columns: tuple[str, str | None], number: int) -> Any:
    """An Arrow table of the first positive and the first negatives of each row of another."""
    import pyarrow

    flat, starts, counts, before = [], [], [], 0
    for column in columns:
        items, lengths = flat_cells(table[column].combine_chunks()) if column else (pyarrow.array([], "string"), 0)
        lengths = lengths + np.zeros(len(table), np.int64)
        flat.append(items.cast(pyarrow.large_string()))
        starts.append(before + np.cumsum(lengths) - lengths)
        counts.append(lengths)
        before += len(items)
    texts, places = pyarrow.concat_arrays(flat), {"positive": starts[0]}
    for i in range(number):
        own = starts[1] + i % np.maximum(counts[1], 1)
        places[f"negative_{i + 1}"] = np.where(counts[1] > 0, own, starts[0])
    return pyarrow.table({name: texts.take(pyarrow.array(place)) for name, place in places.items()})


def _scores(rows: Dataset, column: str) -> npt.NDArray[np.float32] | None:
    if column not in rows.column_names:
        return None
    chunks = rows.with_format("arrow")[column][:].chunks
    values = [np.asarray(chunk.flatten()) for chunk in chunks if "list" in str(chunk.type)]
    return np.concatenate([np.zeros(0), *values]).astype(np.float32)
