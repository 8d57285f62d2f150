"""Matryoshka: one loss at every nested dim, added up by weight. Kusupati et al. 2022, arXiv:2205.13147."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

EPSILON = 1e-12  # the smallest length a vector is divided by, as in torch's normalize


def nested_similarities(rows_BD: Tensor, candidates_ND: Tensor, dims: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """(dim, cosine similarities (B, N) of the first dim numbers), narrowest dim first.

    The products of nested dims are running sums of the blocks between consecutive dims, so all dims together
    cost what the widest costs alone. Computed in fp32 with autocast off: under bf16 a separated batch has no gradient.
    """
    with torch.autocast(rows_BD.device.type, enabled=False):
        rows_BD, candidates_ND = _at_least_fp32(rows_BD), _at_least_fp32(candidates_ND)
        start = 0
        products_BN = rows_BD.new_zeros(len(rows_BD), len(candidates_ND))
        squares_B, squares_N = rows_BD.new_zeros(len(rows_BD)), rows_BD.new_zeros(len(candidates_ND))
        for dim in sorted(dims):
            rows_Bd, candidates_Nd = rows_BD[:, start:dim], candidates_ND[:, start:dim]
            products_BN = products_BN + rows_Bd @ candidates_Nd.T
            squares_B = squares_B + rows_Bd.square().sum(1)
            squares_N = squares_N + candidates_Nd.square().sum(1)
            lengths_B = squares_B.clamp_min(EPSILON**2).sqrt()
            lengths_N = squares_N.clamp_min(EPSILON**2).sqrt()
            yield dim, products_BN / lengths_B[:, None] / lengths_N[None, :]
            start = dim


def similarities_at(rows_BD: Tensor, candidates_ND: Tensor, dim: int) -> Tensor:
    """Cosine similarities (B, N) of the first dim numbers by a product of their own.

    It keeps no matrix of this size for the gradient, where the running sums of nested_similarities keep two a dim.
    """
    rows_Bd, candidates_Nd = _at_least_fp32(rows_BD[:, :dim]), _at_least_fp32(candidates_ND[:, :dim])
    return F.normalize(rows_Bd, dim=1, eps=EPSILON) @ F.normalize(candidates_Nd, dim=1, eps=EPSILON).T


@dataclass(frozen=True)
class NestedLoss:
    """The sum that is trained on, its summands by dim, and each dim's own loss before its weight (detached)."""

    total: Tensor
    per_dim: dict[int, Tensor]
    summands: dict[int, Tensor] = field(default_factory=dict, repr=False)


def gradient_shares(nested: NestedLoss, embeddings_SD: Tensor) -> dict[int, Tensor]:
    """dim -> the norm of its summand's gradient at the embeddings, as a share of these norms together: they sum to 1.

    embeddings_SD: what the loss was computed from. Backward goes through the loss alone, not through the encoder, and
    adds nothing to any gradient. Nothing is read from the device.
    """
    with torch.autocast(embeddings_SD.device.type, enabled=False):
        norms = {}
        for dim, summand in nested.summands.items():
            (gradient_SD,) = torch.autograd.grad(summand, embeddings_SD, retain_graph=True)
            norms[dim] = torch.linalg.vector_norm(gradient_SD, dtype=torch.float32)
        together = torch.stack(list(norms.values())).sum().clamp_min(EPSILON)
    return {dim: norm / together for dim, norm in norms.items()}


class MatryoshkaLoss(nn.Module):
    """sum over dims of weight * loss(similarities of the first dim numbers): a sum, not a mean.

    loss: takes a matrix of similarities (B, N) and, at most, a mask. weights: one a dim, in the order of dims; 1 each
    where none are given. dims_per_step: in training only so many dims count in each micro-batch, drawn anew by `seed`
    (as sentence-transformers' n_dims_per_step draws right after random.seed(seed)); none or too many: all of them.
    Raises ValueError if weights and dims differ in number, or if dims_per_step is below 1.
    """

    def __init__(
        self,
        loss: nn.Module,
        dims: Sequence[int],
        weights: Sequence[float] | None = None,
        dims_per_step: int | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__()
        weights = [1.0] * len(dims) if weights is None else list(weights)
        if len(weights) != len(dims):
            raise ValueError(f"{len(weights)} weights for {len(dims)} dims")
        if dims_per_step is not None and dims_per_step < 1:
            raise ValueError(f"dims_per_step={dims_per_step}: at least one dim must count")
        self.loss = loss
        self.weights = dict(sorted(zip(dims, weights, strict=True), reverse=True))
        self.dims_per_step = dims_per_step
        self.random = random.Random(seed)

    def forward(
        self,
        anchors_BD: Tensor,
        candidates_ND: Tensor,
        mask_BN: Tensor | None = None,
        *,
        one_dim_at_a_time: bool = False,
    ) -> NestedLoss:
        """The nested loss of B anchors and N candidates, positives first (candidate i belongs to anchor i).

        one_dim_at_a_time: for a large B x N. Nothing of this size is kept for the gradient: each dim's similarities
        are computed again when their turn comes, so the memory is that of one dim. Equal to rounding.
        """
        dims = self._dims_of_this_step()
        with torch.autocast(anchors_BD.device.type, enabled=False):
            if one_dim_at_a_time:
                losses = {dim: self._recomputed_at(dim, anchors_BD, candidates_ND, mask_BN) for dim in sorted(dims)}
            else:
                nested = nested_similarities(anchors_BD, candidates_ND, dims)
                losses = {dim: self.loss(similarity_BN, mask_BN) for dim, similarity_BN in nested}
            summands = {dim: self.weights[dim] * loss for dim, loss in losses.items()}
            total = torch.stack(list(summands.values())).sum()
        return NestedLoss(total, {dim: loss.detach() for dim, loss in losses.items()}, summands)

    def _recomputed_at(self, dim: int, anchors_BD: Tensor, candidates_ND: Tensor, mask_BN: Tensor | None) -> Tensor:
        def loss_at(anchors_BD: Tensor, candidates_ND: Tensor) -> Tensor:
            loss: Tensor = self.loss(similarities_at(anchors_BD, candidates_ND, dim), mask_BN)
            return loss

        loss: Tensor = checkpoint(loss_at, anchors_BD, candidates_ND, use_reentrant=False)
        return loss

    def _dims_of_this_step(self) -> list[int]:
        dims = list(self.weights)
        if not self.training or self.dims_per_step is None or self.dims_per_step >= len(dims):
            return dims
        return [dims[i] for i in self.random.sample(range(len(dims)), self.dims_per_step)]


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
