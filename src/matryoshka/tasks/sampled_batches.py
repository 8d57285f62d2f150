"""Some whole batches of the first epoch, their texts once each, and what they say of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from matryoshka.data.guide import Guide
from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.pair_tokens import kind_of
from matryoshka.training.explanation.batches import (
    BatchMeasures,
    EmbeddedBatch,
    easy_batches,
    false_negatives,
    gradient_cosines,
)

ROWS = 2_000  # that are looked at, at most, unless one batch has more


@dataclass(frozen=True)
class SampledBatches:
    """batches: as the loss sees them but for embeddings. places: each batch's rows among those of the columns.

    columns: distinct token ids of the anchors, the positives ..., and which of them each row has.
    """

    batches: Sequence[PackedBatch]
    places: Sequence[Sequence[int]]
    columns: Sequence[tuple[TokenIds, Tensor]]
    guide: Guide

    @classmethod
    def of(cls, data: TrainingData, most: int = ROWS) -> SampledBatches:
        """The first batches of the first epoch, those of one row left out: nothing is learned from them."""
        chosen = _first([rows for rows in data.batches.sampler.batches() if len(rows) > 1], most)
        rows = list(chain.from_iterable(chosen))
        first_of, places = 0, []
        for batch in chosen:
            places.append(list(range(first_of, first_of + len(batch))))
            first_of += len(batch)
        in_front = [data.encoder.prompt_tokens(kind_of(name)) for name in data.batches.columns]
        texts = zip(data.batches.ids(rows), in_front, strict=True)
        columns = [TokenIds.of(column, prompt).without_copies() for column, prompt in texts]
        guide = Guide([data.batches.sampler.texts[row] for row in rows], data.split.pairs.select(rows))
        packed = [data.batches.collate(batch) for batch in chosen]
        return cls(packed, places, [(ids, torch.from_numpy(row_N)) for ids, row_N in columns], guide)

    @property
    def parts(self) -> list[TokenIds]:
        """The texts to encode, column by column."""
        return [ids for ids, _ in self.columns]

    def measured(self, loss: MatryoshkaLoss, before: Sequence[Tensor], after: Sequence[Tensor]) -> BatchMeasures | None:
        """What they say, from the embeddings of `parts` before and after training; None of no batch.

        Gradients are those before training: where it ends, those of all dims together are small by what it did.
        """
        if not self.batches:
            return None
        self.guide.prepare([(x_UD, row_N) for x_UD, (_, row_N) in zip(before, self.columns, strict=True)])
        first, last = self._embedded(before), self._embedded(after)
        return BatchMeasures(
            batches=len(self.batches),
            rows=sum(map(len, self.places)),
            false_negatives=false_negatives(self.guide, self.places, [batch.mask_BN for batch in self.batches]),
            easy_before=easy_batches(loss, first),
            easy_after=easy_batches(loss, last),
            cosines=gradient_cosines(loss, first),
        )

    def _embedded(self, embeddings: Sequence[Tensor]) -> list[EmbeddedBatch]:
        found = []
        for batch, rows in zip(self.batches, self.places, strict=True):
            both = zip(embeddings, self.columns, strict=True)
            anchors_BD, *candidates = (x_UD[row_N[list(rows)]] for x_UD, (_, row_N) in both)
            found.append(EmbeddedBatch(anchors_BD, torch.cat(candidates), batch.mask_BN, batch.numbers))
        return found


def _first(batches: Sequence[list[int]], most: int) -> list[list[int]]:
    """As many batches from the first as have no more rows than this together, one at the least."""
    chosen: list[list[int]] = []
    for batch in batches:
        if chosen and sum(map(len, chosen)) + len(batch) > most:
            break
        chosen.append(batch)
    return chosen
