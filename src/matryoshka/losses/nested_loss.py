"""The value of a nested loss: its sum, and the share of each dim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from matryoshka.data.packing import sent
from matryoshka.losses.similarities import EPSILON


@dataclass(frozen=True)
class NestedLoss:
    """The sum that is trained on; of each dim, narrowest first, its loss without its weight (detached), and with it."""

    total: Tensor
    dims: Sequence[int]
    losses_K: Tensor
    summands_K: Tensor

    @classmethod
    def of(cls, losses_K: Tensor, weights: Mapping[int, float]) -> NestedLoss:
        """The sum of the losses of these dims, each by its weight."""
        weights_K = torch.tensor(list(weights.values()), dtype=losses_K.dtype)
        summands_K = losses_K * sent(weights_K, losses_K.device)
        return cls(summands_K.sum(), list(weights), losses_K.detach(), summands_K)

    @property
    def per_dim(self) -> dict[int, Tensor]:
        """dim -> its own loss."""
        return dict(zip(self.dims, self.losses_K.unbind(), strict=True))

    def detached(self) -> NestedLoss:
        """The same values without their graph."""
        return NestedLoss(self.total.detach(), self.dims, self.losses_K, self.summands_K.detach())


def losses_of(
    loss: nn.Module,
    similarities_KBN: Tensor,
    given: Mapping[str, Tensor | None],
    stacks: Mapping[str, Tensor],
) -> Tensor:
    """The loss of each matrix, (K,): of all at once where the loss is `stacked`.

    Its further arguments: given, equal for all dims, and stacks, which have a matrix for each.
    """
    if getattr(loss, "stacked", False):
        losses_K: Tensor = loss(similarities_KBN, **given, **stacks)
        return losses_K
    losses = []
    for k, similarity_BN in enumerate(similarities_KBN):
        losses.append(loss(similarity_BN, **given, **{name: x_KBN[k] for name, x_KBN in stacks.items()}))
    return torch.stack(losses)


def gradient_shares(nested: NestedLoss, embeddings_SD: Tensor) -> dict[int, Tensor]:
    """dim -> the norm of its summand's gradient at the embeddings, as a share of these norms together: they sum to 1.

    embeddings_SD: what the loss was computed from. Backward goes through the loss alone, not through the encoder, and
    adds nothing to any gradient. Nothing is read from the device.
    """
    with torch.autocast(embeddings_SD.device.type, enabled=False):
        norms = []
        for summand in nested.summands_K.unbind():
            (gradient_SD,) = torch.autograd.grad(summand, embeddings_SD, retain_graph=True)
            norms.append(torch.linalg.vector_norm(gradient_SD, dtype=torch.float32))
        norms_K = torch.stack(norms)
        shares_K = norms_K / norms_K.sum().clamp_min(EPSILON)
    return dict(zip(nested.dims, shares_K.unbind(), strict=True))
