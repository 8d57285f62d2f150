"""Attention kernels of a GPU that take packed sequences as they lie, and which of them a call can use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from inspect import signature

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# (q_THD, k_THD, v_THD, cu_seqlens_Z, longest, scaling, dropout) -> attended_THD
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, int, float | None, float], Tensor]


@cache
def varlen_kernel(device: torch.device, dtype: torch.dtype, head_size: int, dropout: bool) -> Kernel | None:
    """The kernel for such calls on a GPU; None on other devices, and where only SDPA over length buckets will do.

    torch's own comes first, flash-attn's where that one does not do. Which it is and why is decided, and logged, once
    for each kind of call: training and evaluation may differ, since torch's kernel has no dropout.
    """
    if device.type != "cuda":
        return None
    kernel: Kernel | None = None
    name, obstacles = "SDPA over length buckets", []
    if general := _obstacle(device, dtype, head_size):
        obstacles = [general]
    elif (torchs := _obstacle_to_torch(dropout)) is None:
        kernel, name = torch_varlen_attention, "torch's varlen_attn"
    elif (flash_attns := _obstacle_to_flash_attn()) is None:
        kernel, name, obstacles = flash_attn_varlen_attention, "flash-attn's flash_attn_varlen_func", [torchs]
    else:
        obstacles = [torchs, flash_attns]
    calls = f"{str(dtype).removeprefix('torch.')}, heads of {head_size}, {'' if dropout else 'no '}dropout"
    reasons = f", since {'; '.join(obstacles)}" if obstacles else ""
    log.info("attention on %s (%s): %s%s", device, calls, name, reasons)
    return kernel


def kernel_name(device: torch.device, dtype: torch.dtype, head_size: int) -> str:
    """What such calls take in an evaluation, with what decides its last bits, torch aside: equal for equal results."""
    kernel = varlen_kernel(device, dtype, head_size, dropout=False)
    if kernel is None:
        cuda = torch.backends.cuda
        enabled = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
        return f"SDPA over length buckets {enabled if device.type == 'cuda' else ''}"
    return f"{kernel.__name__} {version('flash-attn') if kernel is flash_attn_varlen_attention else ''}"


def _obstacle(device: torch.device, dtype: torch.dtype, head_size: int) -> str | None:
    """Why no variable-length kernel can be used; None if nothing speaks against it."""
    if dtype not in (torch.float16, torch.bfloat16):
        return "variable-length kernels are for fp16 and bf16"
    if torch.version.hip is not None:
        return "not tried on ROCm"
    if (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        return f"the GPU's capability is {capability[0]}.{capability[1]}, and 8.0 is needed"
    if head_size % 8 or head_size > 192:  # above 192 not every GPU has the gradient
        return "the size of a head must be a multiple of 8 up to 192"
    return None


def _obstacle_to_torch(dropout: bool) -> str | None:
    if dropout:
        return "torch's varlen_attn has no dropout"
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return "this torch has no varlen_attn"
    if "scale" not in signature(varlen_attn).parameters:
        return "this torch's varlen_attn has no scale"
    return (
        None if torch.backends.cuda.is_flash_attention_available() else "this torch was built without flash attention"
    )


def _obstacle_to_flash_attn() -> str | None:
    try:
        attend = getattr(import_module("flash_attn"), "flash_attn_varlen_func", None)
    except ModuleNotFoundError:
        return "flash-attn is not installed"
    except ImportError as error:  # built for another torch
        return f"flash-attn cannot be imported: {error}"
    if attend is None or "deterministic" not in signature(attend).parameters:
        return "this flash-attn has no flash_attn_varlen_func that can be deterministic (2.4.1 and later 2.x have)"
    return None


def torch_varlen_attention(
    q_THD: Tensor,
    k_THD: Tensor,
    v_THD: Tensor,
    cu_seqlens_Z: Tensor,
    longest: int,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """torch.nn.attention.varlen.varlen_attn."""
    from torch.nn.attention.varlen import varlen_attn

    assert not dropout
    attended_THD = varlen_attn(q_THD, k_THD, v_THD, cu_seqlens_Z, cu_seqlens_Z, longest, longest, scale=scaling)
    assert isinstance(attended_THD, Tensor)
    return attended_THD


def flash_attn_varlen_attention(
    q_THD: Tensor,
    k_THD: Tensor,
    v_THD: Tensor,
    cu_seqlens_Z: Tensor,
    longest: int,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """flash_attn_varlen_func of the package flash-attn. Dao 2023, arXiv:2307.08691."""
    attended_THD: Tensor = import_module("flash_attn").flash_attn_varlen_func(
        q_THD,
        k_THD,
        v_THD,
        cu_seqlens_Z,
        cu_seqlens_Z,
        longest,
        longest,
        dropout_p=dropout,
        softmax_scale=scaling,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    return attended_THD
