"""The norm of all gradients together, and gradients scaled down to a largest one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

PIECE = 1 << 22  # numbers whose squares are summed at once: on a CPU torch copies them to fp64 first


def gradient_norms(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of each gradient, (P,).

    Squares are summed in fp64, so that rows of zeros, set aside or not, change nothing. A GPU does it in one call.
    """
    if gradients[0].device.type != "cpu":
        wide = torch.float32 if gradients[0].device.type == "mps" else torch.float64  # MPS has no fp64
        return torch.stack(torch._foreach_norm(list(gradients), 2, wide))
    norms = [[torch.linalg.vector_norm(p, dtype=torch.float64) for p in g.flatten().split(PIECE)] for g in gradients]
    return torch.stack([n[0] if len(n) == 1 else torch.linalg.vector_norm(torch.stack(n)) for n in norms])


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all gradients together, as clip_grad_norm_ returns it."""
    norm: Tensor = torch.linalg.vector_norm(gradient_norms(gradients))
    return norm


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, norm: Tensor | None = None) -> None:
    """Scale all gradients so that their norm together is at most max_norm. norm: what it is, if that is known."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = gradient_norm(gradients) if norm is None else norm
    torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0).float())


def clips_itself(optimizer: Optimizer) -> bool:
    """Whether `clip_in_step` works with it: a fused Adam on a CPU or a CUDA GPU.

    torch's fused SGD would take what is in memory for its first momentum where the first update is skipped, and on MPS
    a fused optimizer looks at neither number.
    """
    devices = {p.device.type for group in optimizer.param_groups for p in group["params"]}
    adam = isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)
    return adam and bool(getattr(optimizer, "_step_supports_amp_scaling", False)) and devices <= {"cpu", "cuda"}


def clip_in_step(optimizer: Optimizer, max_norm: float, norm: Tensor, broken: Tensor) -> None:
    """Let the optimizer's next step clip as clip_gradients does, or change nothing where `broken` is 1.

    It divides by `grad_scale` and looks at `found_inf` on the device, as for a GradScaler; nothing is read by the host.
    """
    optimizer.grad_scale = ((norm + 1e-6) / max_norm).clamp(min=1.0).float()  # type: ignore[attr-defined]
    optimizer.found_inf = broken.float()  # type: ignore[attr-defined]
