"""The norm of all gradients together, and gradients scaled down to a largest one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

PIECE = 1 << 22  # numbers whose squares are summed at once: on a CPU torch copies them to fp64 first


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all gradients together.

    As clip_grad_norm_ returns it, but squares are summed in fp64: then rows of zeros, set aside or not, change nothing.
    """
    wide = torch.float32 if gradients[0].device.type == "mps" else torch.float64  # MPS has no fp64
    pieces = [piece for gradient in gradients for piece in gradient.flatten().split(PIECE)]
    norms = [torch.linalg.vector_norm(piece, dtype=wide) for piece in pieces]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, norm: Tensor | None = None) -> None:
    """Scale all gradients so that their norm together is at most max_norm. norm: what it is, if that is known."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = gradient_norm(gradients) if norm is None else norm
    torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0).float())
