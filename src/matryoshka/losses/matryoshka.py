"""Matryoshka: one loss at every nested dim, added up by weight. Kusupati et al. 2022, arXiv:2205.13147."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from matryoshka.losses.drawn_dims import Cuts, DrawnDims
from matryoshka.losses.inputs import among, names_of
from matryoshka.losses.nested_loss import NestedLoss, losses_of
from matryoshka.losses.similarities import similarities_at, stacked_similarities


class MatryoshkaLoss(nn.Module):
    """sum over dims of weight * loss(similarities of the first dim numbers): a sum, not a mean.

    loss: takes a matrix of similarities (B, N) and, where its forward names them, mask_BN and numbers of the candidates
    such as teacher_BN (see data.pairs); where it says that it is `stacked`, those of all K dims at once, (K, B, N), of
    which it gives (K,). full_BN are the similarities at the widest dim of all, detached, whatever dims count;
    anchors_BB and positives_BN, at each dim, those within each side (see inputs).
    weights: one a dim, in the order of dims; 1 each where none are given.
    dims_per_step, cuts: in training only so many dims count in each micro-batch, and each may be cut below itself;
    both are drawn anew by `seed` (see drawn_dims). Weights and losses go by the dim, wherever it is cut.
    Raises ValueError if weights and dims differ in number, or if dims_per_step is below 1.
    """

    def __init__(
        self,
        loss: nn.Module,
        dims: Sequence[int],
        weights: Sequence[float] | None = None,
        dims_per_step: int | None = None,
        seed: int = 42,
        cuts: Cuts = "dims",
    ) -> None:
        super().__init__()
        weights = [1.0] * len(dims) if weights is None else list(weights)
        if len(weights) != len(dims):
            raise ValueError(f"{len(weights)} weights for {len(dims)} dims")
        self.loss = loss
        self.weights = dict(sorted(zip(dims, weights, strict=True), reverse=True))
        self.drawn_dims = DrawnDims(dims, dims_per_step, seed, cuts)
        self.takes, self.needs, self.makes = names_of(loss)

    def forward(
        self,
        anchors_BD: Tensor,
        candidates_ND: Tensor,
        mask_BN: Tensor | None = None,
        numbers: Mapping[str, Tensor] | None = None,
        *,
        cuts: Mapping[int, int] | None = None,
        one_dim_at_a_time: bool = False,
    ) -> NestedLoss:
        """The nested loss of B anchors and N candidates, positives first (candidate i belongs to anchor i).

        mask_BN: candidates to leave out. numbers: matrices (B, N) by the name under which a loss may ask for them.
        cuts: the dims that count, each with its cut; as `drawn_dims` gives them if None.
        one_dim_at_a_time: for a large B x N. No dim's matrix is kept for the gradient: each dim's similarities
        are computed again when their turn comes, so the memory is that of one dim. Equal to rounding.
        """
        cuts = dict(sorted((self.drawn_dims() if cuts is None else cuts).items()))
        given = {name: x_BN for name, x_BN in {"mask_BN": mask_BN, **(numbers or {})}.items() if name in self.takes}
        with torch.autocast(anchors_BD.device.type, enabled=False):
            if "full_BN" in self.makes:
                given["full_BN"] = similarities_at(anchors_BD.detach(), candidates_ND.detach(), max(self.weights))
            if one_dim_at_a_time:
                each = [self._recomputed_at(cut, anchors_BD, candidates_ND, given) for cut in cuts.values()]
                losses_K = torch.stack(each)
            else:
                at_dims = partial(stacked_similarities, dims=list(cuts.values()))
                stacks = among(self.makes, at_dims, anchors_BD, candidates_ND)
                losses_K = losses_of(self.loss, at_dims(anchors_BD, candidates_ND), given, stacks)
            return NestedLoss.of(losses_K, {dim: self.weights[dim] for dim in cuts})

    def _recomputed_at(
        self, dim: int, anchors_BD: Tensor, candidates_ND: Tensor, given: Mapping[str, Tensor | None]
    ) -> Tensor:
        at_dim = partial(similarities_at, dim=dim)

        def loss_at(anchors_BD: Tensor, candidates_ND: Tensor) -> Tensor:
            own = among(self.makes, at_dim, anchors_BD, candidates_ND)
            loss: Tensor = self.loss(at_dim(anchors_BD, candidates_ND), **given, **own)
            return loss

        loss: Tensor = checkpoint(loss_at, anchors_BD, candidates_ND, use_reentrant=False)
        return loss
