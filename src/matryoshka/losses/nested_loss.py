"""The value of a nested loss: its sum, and the share of each dim."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from matryoshka.losses.similarities import EPSILON


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
