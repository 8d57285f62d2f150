"""What the batches of a training ask of an encoder, measured on embeddings of their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from matryoshka.data.guide import Guide
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.losses.precision import ieee_products
from matryoshka.losses.similarities import EPSILON

NEAR_ZERO = 0.05  # a dim: a loss from which hardly anything is learned


@dataclass(frozen=True)
class EmbeddedBatch:
    """A batch as a loss sees it: anchors, candidates (positives first), what is left out, numbers of candidates."""

    anchors_BD: Tensor
    candidates_ND: Tensor
    mask_BN: Tensor | None = None
    numbers: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchMeasures:
    """Whole batches of the first epoch.

    false_negatives: the share of the candidates that count as negatives, of which the encoder before training finds
    that they are about as near as the positive. easy_before, easy_after: the share of batches whose loss is near zero.
    cosines: dim -> other dim -> mean cosine of the gradients of their losses, before training.
    """

    batches: int
    rows: int
    false_negatives: float
    easy_before: float
    easy_after: float
    cosines: Mapping[int, Mapping[int, float]]

    @property
    def lowest(self) -> tuple[int, int, float] | None:
        """The two dims whose gradients agree least, the wider one first; None of a single dim."""
        pairs = [(dim, other, of[other]) for dim, of in self.cosines.items() for other in of if other < dim]
        return min(pairs, key=lambda pair: pair[2], default=None)


def false_negatives(guide: Guide, batches: Sequence[Sequence[int]], masks: Sequence[Tensor | None]) -> float:
    """The share of candidates that the guide finds about as near as the positive, of those that count as negatives.

    batches: rows of the guide's. masks: of each batch what its loss leaves out already.
    """
    found, candidates = 0, 0
    for rows, mask_BN in zip(batches, masks, strict=True):
        near_BN, shape = guide.mask(rows), (len(rows), (len(guide.columns) - 1) * len(rows))
        counts_BN = torch.ones(shape, dtype=torch.bool) if mask_BN is None else ~mask_BN
        counts_BN[:, : len(rows)].fill_diagonal_(False)
        candidates += int(counts_BN.sum())
        found += 0 if near_BN is None else int((near_BN & counts_BN).sum())
    return found / max(1, candidates)


@torch.inference_mode()
@ieee_products()
def easy_batches(loss: MatryoshkaLoss, batches: Sequence[EmbeddedBatch]) -> float:
    """The share of batches whose loss is below NEAR_ZERO in the mean over dims, weights aside."""
    easy = [bool(_value(loss, batch).losses_K.mean() < NEAR_ZERO) for batch in batches]
    return sum(easy) / max(1, len(easy))


@ieee_products()
def gradient_cosines(loss: MatryoshkaLoss, batches: Sequence[EmbeddedBatch]) -> dict[int, dict[int, float]]:
    """dim -> other dim -> cosine of the gradients of their losses at the embeddings, mean over batches, widest first.

    Below 0, a step that helps one dim hurts the other. A gradient of zeros agrees with none: 0.
    """
    dims = sorted((dim for dim, weight in loss.weights.items() if weight), reverse=True)
    total_KK = torch.zeros(len(dims), len(dims), dtype=torch.float64)
    for batch in batches:
        gradients_KS = torch.stack(_gradients(loss, batch, dims)).double()
        unit_KS = gradients_KS / gradients_KS.norm(dim=1, keepdim=True).clamp_min(EPSILON)
        total_KK += unit_KS @ unit_KS.T
    mean = (total_KK / max(1, len(batches))).tolist()
    return {dim: dict(zip(dims, row, strict=True)) for dim, row in zip(dims, mean, strict=True)}


def _gradients(loss: MatryoshkaLoss, batch: EmbeddedBatch, dims: Sequence[int]) -> list[Tensor]:
    """Of each dim's loss the gradient at all embeddings of the batch, as one row."""
    both = [x_SD.detach().float().requires_grad_() for x_SD in (batch.anchors_BD, batch.candidates_ND)]
    nested = _value(loss, replace(batch, anchors_BD=both[0], candidates_ND=both[1]))
    summand_of = dict(zip(nested.dims, nested.summands_K.unbind(), strict=True))
    found = [torch.autograd.grad(summand_of[dim], both, retain_graph=True) for dim in dims]
    return [torch.cat([gradient_SD.flatten() for gradient_SD in of]) for of in found]


def _value(loss: MatryoshkaLoss, batch: EmbeddedBatch) -> NestedLoss:
    nested: NestedLoss = loss(batch.anchors_BD, batch.candidates_ND, batch.mask_BN, batch.numbers)
    return nested
