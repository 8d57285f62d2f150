"""One loss twice, over the same embeddings: ours, and sentence-transformers' with all that it calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn

from matryoshka.losses import MatryoshkaLoss, NestedLoss, RankingLoss
from matryoshka.losses.ranking import Direction

WIDTH = 768
Columns = Sequence[Tensor]
Result = tuple[Tensor, list[Tensor]]  # the loss, and its gradient at the embeddings of each column


class Prepared(nn.Module):
    """Stands in for a SentenceTransformer: its embeddings are the rows of one tensor, and token ids are row numbers."""

    def __init__(self, embeddings_SD: Tensor) -> None:
        super().__init__()
        self.embeddings_SD = embeddings_SD

    def get_embedding_dimension(self) -> int:
        return self.embeddings_SD.shape[1]

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.embeddings_SD[features["input_ids"][:, 0]]}


def their_loss(model: Any, scale: float, direction: Direction, hardness: float = 0.0) -> MultipleNegativesRankingLoss:
    """What they call each direction; positive_to_anchor is only an order of the columns there."""
    options: Any = {"hardness_mode": "hard_negatives", "hardness_strength": hardness} if hardness else {}
    if direction == "both":
        options |= {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    return MultipleNegativesRankingLoss(model, scale, **options)


def ours(columns: Columns, loss: MatryoshkaLoss) -> tuple[NestedLoss, list[Tensor]]:
    leaves = [column.clone().requires_grad_() for column in columns]
    nested: NestedLoss = loss(leaves[0], torch.cat(leaves[1:]))
    return nested, list(torch.autograd.grad(nested.total, leaves))


def theirs(columns: Columns, make: Callable[[Any], TheirMatryoshkaLoss]) -> Result:
    leaves = [column.clone().requires_grad_() for column in columns]
    rows = torch.arange(sum(map(len, columns)))[:, None].split([len(column) for column in columns])
    loss, labels = make(Prepared(torch.cat(leaves))), torch.empty(0)  # the ranking loss has no use for labels
    total = loss([{"input_ids": ids} for ids in rows], labels)
    return total.detach(), list(torch.autograd.grad(total, leaves))


def both_sides(
    columns: Columns,
    dims: list[int],
    weights: list[float] | None,
    scale: float,
    direction: Direction,
    hardness: float = 0.0,
) -> tuple[Result, Result]:
    nested, our_gradients = ours(columns, MatryoshkaLoss(RankingLoss(scale, direction, hardness), dims, weights))
    order = slice(None, None, -1 if direction == "positive_to_anchor" else 1)
    loss, gradients = theirs(
        columns[order],
        lambda model: TheirMatryoshkaLoss(model, their_loss(model, scale, direction, hardness), dims, weights),
    )
    return (nested.total, our_gradients), (loss, gradients[order])


def draw(columns: int, rows: int, near: bool, dtype: torch.dtype) -> list[Tensor]:
    """Random embeddings. near: those of one row resemble each other, as after training, and the loss is small."""
    generator = torch.Generator().manual_seed(17 * columns + rows)
    anchor, *others = torch.randn(columns, rows, WIDTH, generator=generator, dtype=torch.float64)
    return [column.to(dtype) for column in (anchor, *(other + near * anchor for other in others))]


class Widths(MultipleNegativesRankingLoss):
    """Notes how wide the embeddings are that it is given."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.seen: list[int] = []

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        self.seen.append(embeddings[0].shape[1])
        return super().compute_loss_from_embeddings(embeddings, labels)
