"""In-batch-negative ranking: pick each row's own candidate among all candidates of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from matryoshka.losses.candidates import left_out, own_negatives

Scale = Annotated[float, Gt(0), Le(10_000), "20"]
Hardness = Annotated[float, Ge(0), Le(1000), "5"]
Direction = Literal["anchor_to_positive", "positive_to_anchor", "both"]


def ranking_loss(scores_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
    """Mean cross entropy of picking each row's own candidate among all N.

    Candidate i belongs to row i; columns from B on are extra negatives. Entries true in mask_BN are left out;
    a row's own candidate never is. Of a stack of matrices (K, B, N) it is a loss each, (K,).
    Raises ValueError if N < B. Source: Henderson et al. 2017, arXiv:1705.00652.
    """
    rows, candidates = scores_BN.shape[-2:]
    if candidates < rows:
        raise ValueError(f"{rows} rows but only {candidates} candidates: row i's own candidate is candidate i")
    if (out_BN := left_out(scores_BN, mask_BN)) is not None:
        scores_BN = scores_BN.masked_fill(out_BN, float("-inf"))
    own_KB = torch.arange(rows, device=scores_BN.device).expand(scores_BN.shape[:-1])
    loss_R = F.cross_entropy(scores_BN.reshape(-1, candidates), own_KB.reshape(-1), reduction="none")
    return loss_R.view(own_KB.shape).mean(-1)


def sides(direction: Direction, *matrices_BN: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """The same matrices as each side that asks has them: anchors among all N, positives among the batch's anchors."""
    if direction != "positive_to_anchor":
        yield matrices_BN
    if direction != "anchor_to_positive":
        yield tuple(None if x_BN is None else x_BN[..., : x_BN.shape[-2]].mT for x_BN in matrices_BN)


class RankingLoss(nn.Module):
    """ranking_loss of scaled similarities, rows anchors, columns positives and then hard negatives.

    scale: 1 / temperature. direction: which side asks. `anchor_to_positive`: each anchor among all passages, hard
    negatives included. `positive_to_anchor`: each positive among the batch's anchors (what sentence-transformers does
    with the columns in the order positive, anchor; hard negatives play no part). `both`: the mean of the two.
    hardness: so many times its similarity, without gradient, is added to the score of a row's own hard negative: the
    harder, the more it counts. Source: Schechter Vera et al. 2025 (EmbeddingGemma), arXiv:2509.20354.
    """

    stacked = True  # takes the matrices of all dims at once, (K, B, N), and gives (K,)

    def __init__(
        self, scale: Scale = 20.0, direction: Direction = "anchor_to_positive", hardness: Hardness = 0.0
    ) -> None:
        super().__init__()
        self.scale, self.direction, self.hardness = scale, direction, hardness

    def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """The loss of one matrix of similarities; entries true in mask_BN are no candidates."""
        scores_BN = similarity_BN * self.scale
        if self.hardness:
            scores_BN = scores_BN + self.hardness * similarity_BN.detach() * own_negatives(similarity_BN)
        return torch.stack([ranking_loss(*side) for side in sides(self.direction, scores_BN, mask_BN)]).mean(0)
