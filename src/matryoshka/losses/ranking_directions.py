"""Ranking against further negatives: questions among each other, passages among each other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from matryoshka.losses.candidates import left_out, own_negatives, own_positives
from matryoshka.losses.ranking import Scale

Pool = Literal["anchor_to_positive", "anchor_to_anchor", "positive_to_anchor", "positive_to_positive"]
PartitionMode = Literal["joint", "per_direction"]
WITHOUT_ITS_OWN = {"anchor_to_anchor", "positive_to_positive"}  # pools that do not hold the pair itself


class RankingDirectionsLoss(nn.Module):
    """Mean over pairs of log(sum of exponentials of the pair's pools) - the pair's own score.

    directions: the pools, scores of the pair's anchor or positive. `anchor_to_positive`, which must be among them: of
    the anchor with all passages. `anchor_to_anchor`: with all other anchors. `positive_to_anchor`: of the positive with
    all anchors. `positive_to_positive`: with all passages but the pair's own. partition_mode: `joint`, one sum over all
    pools; `per_direction`, one a pool, and the mean of their logs, which takes pools that hold the pair itself.
    No negatives of each other are, besides what the mask says of an anchor and a passage, two anchors of which one is
    answered by the other's positive, so equal ones too, and two positives that answer the same anchor, so equal ones
    too. Raises ValueError for directions that do not go together. Source: Li et al. 2023 (GTE), arXiv:2308.03281.
    """

    stacked = True

    def __init__(
        self,
        directions: list[Pool],
        scale: Scale = 20.0,
        partition_mode: PartitionMode = "joint",
    ) -> None:
        super().__init__()
        if "anchor_to_positive" not in directions:
            raise ValueError("directions: add anchor_to_positive, which holds the pair itself")
        if partition_mode == "per_direction" and (alone := sorted(WITHOUT_ITS_OWN & set(directions))):
            raise ValueError(f"directions: {', '.join(alone)} cannot stand alone; use partition_mode=joint")
        self.directions, self.scale, self.partition_mode = directions, scale, partition_mode

    def forward(
        self, similarity_BN: Tensor, mask_BN: Tensor | None = None, *, anchors_BB: Tensor, positives_BN: Tensor
    ) -> Tensor:
        """The loss of one matrix of similarities or of a stack; entries true in mask_BN are no candidates."""
        rows, own_BN = similarity_BN.shape[-2], own_positives(similarity_BN)
        out_BN = left_out(similarity_BN, torch.zeros_like(own_BN) if mask_BN is None else mask_BN)
        assert out_BN is not None
        alike_BB = out_BN[:, :rows] | out_BN[:, :rows].T
        alike_BN = torch.cat([alike_BB, out_BN[:, rows:]], 1)
        pools: dict[str, tuple[Tensor, Tensor]] = {
            "anchor_to_positive": (similarity_BN, out_BN),
            "anchor_to_anchor": (anchors_BB, alike_BB | own_BN[:, :rows]),
            "positive_to_anchor": (similarity_BN[..., :rows].mT, out_BN[:, :rows].T),
            "positive_to_positive": (positives_BN, alike_BN | own_BN | own_negatives(similarity_BN)),
        }
        chosen = [pools[name] for name in pools if name in self.directions]
        scores = [(self.scale * x_BP).masked_fill(out_BP, -torch.inf) for x_BP, out_BP in chosen]
        if self.partition_mode == "joint":
            scores = [torch.cat(scores, -1)]
        logs_PB = torch.stack([x_BP.logsumexp(-1) for x_BP in scores])
        own_B = self.scale * similarity_BN.diagonal(dim1=-2, dim2=-1)
        return (logs_PB.mean(0) - own_B).mean(-1)
