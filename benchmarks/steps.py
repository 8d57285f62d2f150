"""Training steps of both sides, with equal weights, loss, optimizer and dropout rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sides import DIMS, PROMPTS, autocast_forward, load
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training.clipping import clip_gradients

Pairs = Sequence[tuple[str, str]]
Columns = list[dict[str, Any]]


@dataclass(frozen=True)
class Batch:
    """The same pairs as our loader gives them, and as their collator does: each column padded to its longest text."""

    packed: PackedBatch
    padded: Columns

    @property
    def pairs(self) -> int:
        """How many."""
        return self.packed.columns[0]

    @property
    def tokens(self) -> int:
        """Of both columns, without padding."""
        return sum(self.packed.lengths)


def tokens_of(encoder: Encoder, pairs: Pairs) -> set[int]:
    """All token ids of the pairs."""
    columns = zip(zip(*pairs, strict=True), ("query", "document"), strict=True)
    return set.union(*(TokenIds.of(encoder.tokenize(texts, prompt)).distinct() for texts, prompt in columns))  # type: ignore[arg-type]


class TrainingSides:
    """Both sides on the embedded encoder. Losses are compared first; `start` makes them ready to train."""

    def __init__(self) -> None:
        self.encoder, self.theirs = load()
        self.loss = MatryoshkaLoss(RankingLoss(scale=20.0), DIMS)
        ranking = MultipleNegativesRankingLoss(self.theirs, scale=20.0)
        self.their = TheirMatryoshkaLoss(self.theirs, ranking, list(DIMS))
        self.bf16 = False

    def batch(self, pairs: Pairs, max_length: int | None = None) -> Batch:
        """Pairs of anchor and positive as a batch, cut at max_length tokens (as loaded if None)."""
        if max_length is not None:
            self.encoder.max_seq_length = self.theirs.max_seq_length = max_length
        anchors, positives = zip(*pairs, strict=True)
        packed = PackedBatch.from_ids(
            [self.encoder.tokenize(anchors, "query"), self.encoder.tokenize(positives, "document")]
        )
        columns = ([PROMPTS["query"] + text for text in anchors], [PROMPTS["document"] + text for text in positives])
        return Batch(packed, [self.theirs.preprocess(column) for column in columns])

    @torch.no_grad()
    def loss_difference(self, batch: Batch) -> float:
        """How far the two losses of a batch are apart; fp32, dropout off."""
        self.encoder.eval(), self.theirs.eval()
        return abs(self._our_loss(batch) - self._their_loss(batch)).item()

    def start(self, precision: str, pairs: Pairs) -> None:
        """Dropout on, optimizers made; on our side only the rows that all these pairs use are trained, as in a run."""
        self.bf16 = precision == "bf16"
        if self.bf16:
            autocast_forward(self.theirs)
        self.encoder.compact_vocabulary(tokens_of(self.encoder, pairs))
        self.encoder.train(), self.theirs.train()
        self.optimizer = torch.optim.AdamW(self.encoder.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
        self.their_optimizer = torch.optim.AdamW(self.theirs.parameters(), lr=2e-5, weight_decay=0.0, fused=True)

    @property
    def dropouts(self) -> list[float]:
        """The rates in use."""
        return sorted({module.p for module in self.theirs.modules() if isinstance(module, nn.Dropout)})

    def ours(self, batches: Iterable[Batch]) -> None:
        """Our steps: forward, loss, backward, clipping, update."""
        for batch in batches:
            self._our_loss(batch).backward()
            clip_gradients(self.encoder.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def sentence_transformers(self, batches: Iterable[Batch]) -> None:
        """Theirs, in the order of their Trainer's step."""
        for batch in batches:
            self._their_loss(batch).backward()
            nn.utils.clip_grad_norm_(self.theirs.parameters(), 1.0)
            self.their_optimizer.step()
            self.their_optimizer.zero_grad()

    def _our_loss(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            embeddings_SD = self.encoder(batch.packed)
        return self.loss(*embeddings_SD.tensor_split([batch.pairs])).total

    def _their_loss(self, batch: Batch) -> Tensor:
        total: Tensor = self.their([dict(column) for column in batch.padded], None)  # they write into the features
        return total
