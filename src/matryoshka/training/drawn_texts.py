"""Token ids of rows that are drawn from: each distinct document once, and the batches of an epoch by their draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matryoshka.data.draws import Draws
from matryoshka.data.equal_texts import equal_numbers
from matryoshka.data.pools import Pools
from matryoshka.data.tokens import TokenIds

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.samplers import ShuffledSampler


@dataclass(frozen=True)
class DrawnTexts:
    """anchors: token ids of each row's. documents: those of the pools' texts."""

    draws: Draws
    anchors: TokenIds
    documents: TokenIds

    @classmethod
    def of(cls, pools: Pools, pairs: Dataset, anchors: TokenIds, documents: TokenIds, seed: int) -> DrawnTexts:
        """Draws of rows with these pools. pairs: texts, a column each for anchor, positive and a draw's negatives."""
        numbers = equal_numbers([anchors.as_bytes(), documents.as_bytes()], [pairs["anchor"], pools.texts])
        return cls(Draws(pools, len(pairs.column_names) - 2, seed, *numbers), anchors, documents)

    def columns(self, draws: Sequence[int]) -> list[list[list[int]]]:
        """The ids of so many draws: their anchors, positives, negatives ...."""
        anchors = [self.anchors[draw % len(self.draws)] for draw in draws]
        return [anchors, *([self.documents[number] for number in column] for column in self.draws.documents(draws).T)]

    def texts(self, draw: int, pairs: Dataset) -> dict[str, Any]:
        """The texts of a draw, by column."""
        numbers = self.draws.documents([draw])[0]
        texts = [pairs[draw % len(self.draws)]["anchor"], *(self.draws.pools.texts[number] for number in numbers)]
        return dict(zip(pairs.column_names, texts, strict=True))

    def token_counts(self, columns: Sequence[str]) -> dict[str, Any]:
        """Tokens of each row's texts in the first epoch, for each column."""
        documents = self.draws.documents(range(len(self.draws)))
        counts = [self.anchors.lengths, *self.documents.lengths[documents].T]
        return dict(zip(columns, counts, strict=True))

    def distinct(self) -> set[int]:
        """All token ids that occur, in whatever epoch."""
        return self.anchors.distinct() | self.documents.distinct()


class EpochBatches:
    """A sampler's batches. Where rows are drawn from, row r of epoch e is e * rows + r: that is how a worker knows it.

    rows: how many there are; 0 where each epoch has the same texts.
    """

    def __init__(self, sampler: ShuffledSampler, rows: int = 0) -> None:
        self.sampler, self.rows = sampler, rows  # Lightning tells the epoch to `batch_sampler.sampler`

    def __iter__(self) -> Iterator[list[int]]:
        first = self.sampler.epoch * self.rows
        return ([first + row for row in batch] for batch in self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)
