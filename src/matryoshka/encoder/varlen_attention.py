"""Attention of packed sequences by one kernel of a GPU, dropout included, and which kernel a call takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import cast

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# (q_THD, k_THD, v_THD, cu_seqlens_Z, longest, scaling, dropout) -> attended_THD; causal and window where asked for
Kernel = Callable[..., Tensor]


@cache
def varlen_kernel(device: torch.device, dtype: torch.dtype, head_size: int, window: bool = False) -> Kernel | None:
    """The kernel for such calls on a GPU; None on other devices, and where only SDPA over length buckets will do.

    Both have dropout and a gradient, so training and evaluation take the same one. It is decided, and logged with its
    reason, once for each kind of call. window: whether tokens see only so far, which flash attention alone can do.
    """
    if device.type != "cuda":
        return None
    kernel, name, reason = _choice(device, dtype, head_size, window)
    calls = f"{str(dtype).removeprefix('torch.')}, heads of {head_size}{', a window' * window}"
    log.info("attention on %s (%s): %s%s", device, calls, name, f", since {reason}" if reason else "")
    return kernel


def kernel_name(device: torch.device, dtype: torch.dtype, head_size: int) -> str:
    """What computes the attention of such calls, equal for equal results to the last bit, torch's version aside."""
    kernel = varlen_kernel(device, dtype, head_size, False)  # as calls without a window ask
    cuda = torch.backends.cuda
    enabled = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
    return kernel.__name__ if kernel else f"buckets {enabled if device.type == 'cuda' else ''}".strip()


def _choice(device: torch.device, dtype: torch.dtype, head_size: int, window: bool) -> tuple[Kernel | None, str, str]:
    """(kernel, its name, why not the one before it)."""
    buckets = "SDPA over length buckets"
    if torch.version.hip is not None:
        return None, buckets, "not tried on ROCm"
    if (obstacle := _obstacle_to_flash(device, dtype, head_size)) is None:
        return flash_attention, "flash attention", ""
    if window:
        return None, buckets, obstacle
    if head_size % 8 == 0:
        return efficient_attention, "memory-efficient attention", obstacle
    return None, buckets, f"{obstacle}; the size of a head must be a multiple of 8"


def _obstacle_to_flash(device: torch.device, dtype: torch.dtype, head_size: int) -> str | None:
    if dtype not in (torch.float16, torch.bfloat16):
        return "flash attention is for fp16 and bf16"
    if (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        return f"the GPU's capability is {capability[0]}.{capability[1]}, and flash attention needs 8.0"
    if head_size % 8 or head_size > 192:  # above 192 not every GPU has the gradient with dropout
        return "flash attention takes heads of a multiple of 8 up to 192"
    return None if torch.backends.cuda.is_flash_attention_available() else "this torch has no flash attention"


def flash_attention(
    q_THD: Tensor,
    k_THD: Tensor,
    v_THD: Tensor,
    cu_seqlens_Z: Tensor,
    longest: int,
    scaling: float | None,
    dropout: float,
    causal: bool = False,
    window: int | None = None,
) -> Tensor:
    """torch's flash attention with its dropout, which the public `varlen_attn` leaves out. Dao 2023, arXiv:2307.08691.

    The operation that torch's own SDPA calls for nested tensors: it has a gradient. A test holds its signature.
    causal, window: see `Reach`.
    """
    sides = {} if window is None else {"window_size_left": window - 1, "window_size_right": 0 if causal else window - 1}
    where = (cu_seqlens_Z, cu_seqlens_Z, longest, longest)
    attended_THD: Tensor = torch.ops.aten._flash_attention_forward(
        q_THD, k_THD, v_THD, *where, dropout, causal, False, scale=scaling, **sides
    )[0]
    return attended_THD


def efficient_attention(
    q_THD: Tensor,
    k_THD: Tensor,
    v_THD: Tensor,
    cu_seqlens_Z: Tensor,
    longest: int,
    scaling: float | None,
    dropout: float,
    causal: bool = False,
) -> Tensor:
    """torch's memory-efficient attention: fp32 and older GPUs as well. Rabe and Staats 2021, arXiv:2112.05682."""
    where = (cu_seqlens_Z, cu_seqlens_Z, longest, longest)
    with_gradient = torch.is_grad_enabled() and q_THD.requires_grad
    (attended_THD,), *_ = torch.ops.aten._efficient_attention_forward(
        q_THD[None], k_THD[None], v_THD[None], None, *where, dropout, int(causal), with_gradient, scale=scaling
    )
    return cast(Tensor, attended_THD)
