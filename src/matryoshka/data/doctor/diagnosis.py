"""What the doctor found in a data set: plain numbers and examples, for every surface to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from matryoshka.data.doctor.training_texts import Column, CopyCounts, Lengths, TextPlaces

if TYPE_CHECKING:
    from matryoshka.data.samplers import BatchSummary

Likeness = Literal["exact", "normalised", "near"]


@dataclass(frozen=True)
class Match:
    """A held-out text, by its id, that a training row has too, and where it stands there; rows count from 1."""

    id: str
    text: str
    row: int
    column: str
    likeness: Likeness


@dataclass(frozen=True)
class Overlap:
    """Held-out texts that training rows have too, in any column.

    texts: held out. exact, normalised: found in training (normalised counts the exact ones). near: those besides that
    nearly are, None if not asked for. rows: training rows with any of these. examples: exact ones first.
    """

    texts: int
    exact: int
    normalised: int
    near: int | None
    rows: int
    examples: tuple[Match, ...]

    @property
    def found(self) -> int:
        """All texts found, however alike."""
        return self.normalised + (self.near or 0)


@dataclass(frozen=True)
class CorpusCopies:
    """What copies do to the measurement: documents whose texts are equal but for case, spaces and punctuation.

    documents: copies of one before them in the corpus. answers: queries with a right document that has a copy which is
    not right for them. mean: how many other documents have the text of a right one. best_accuracy: accuracy@1, as is,
    that is expected of a perfect retriever, who cannot tell documents apart that are equal letter for letter.
    sharing: queries whose right answer another query has too, under whatever id.
    """

    documents: int
    answers: int
    mean: float
    best_accuracy: float
    sharing: int


@dataclass(frozen=True)
class HeldOut:
    """One held-out set.

    queries_in_training, answers_in_training: leaks. others_in_training: documents that answer no query, which is no
    leak. repeated: rows that ask a question again. lengths: of `queries` and `documents`, where they were counted.
    """

    queries: int
    documents: int
    queries_in_training: Overlap
    answers_in_training: Overlap
    others_in_training: Overlap
    copies: CorpusCopies
    repeated: int
    lengths: Mapping[str, Lengths]


@dataclass(frozen=True)
class SharedText:
    """A text of two held-out sets, by its id in both."""

    ids: tuple[str, str]
    text: str


@dataclass(frozen=True)
class HeldOutOverlap:
    """Queries and right answers of the second of two held-out sets that the first has as well."""

    sets: tuple[str, str]
    queries: CopyCounts
    answers: CopyCounts
    examples: tuple[SharedText, ...]


@dataclass(frozen=True)
class Diagnosis:
    """A data set, examined.

    repeated_rows: rows whose texts all stand in one earlier row. same_pairs: rows whose anchor is their positive,
    normalised. batches: those of an epoch; masked: whether the loss leaves out the copies that meet in one.
    warnings: what to mend, worst first, a sentence each; empty for a clean data set.
    """

    rows: int
    max_seq_length: int
    columns: Mapping[str, Column]
    repeated_rows: CopyCounts
    same_pairs: TextPlaces
    held_out: Mapping[str, HeldOut]
    between: tuple[HeldOutOverlap, ...]
    batches: BatchSummary | None = None
    masked: bool = False
    warnings: tuple[str, ...] = ()
