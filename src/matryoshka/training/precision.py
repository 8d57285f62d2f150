"""Which arithmetic this machine is fast at: measured, since processors of one name differ tenfold in bf16."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrecisionChoice:
    """Lightning's name of the precision (`32-true` or `bf16-mixed`) and the reason, for the run's first lines."""

    precision: str
    reason: str


def choose_precision(device: torch.device) -> PrecisionChoice:
    """bf16-mixed where the device multiplies faster in bf16, else fp32. A GPU has to be the current one."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return PrecisionChoice("bf16-mixed", "the GPU has bf16 units")
        return PrecisionChoice("32-true", "the GPU has no bf16 units")
    fp32, bf16 = gigaflops(device, torch.float32), gigaflops(device, torch.bfloat16)
    measured = f"measured {fp32:.0f} GFLOP/s in fp32, {bf16:.0f} in bf16"
    return PrecisionChoice("bf16-mixed" if bf16 > 1.2 * fp32 else "32-true", measured)


def gigaflops(device: torch.device, dtype: torch.dtype, seconds: float = 0.15) -> float:
    """Rate of a product of an encoder's shape, in 10^9 floating-point operations a second, best of the runs made."""
    a = torch.randn(512, 384, device=device).to(dtype)
    b = torch.randn(384, 1536, device=device).to(dtype)
    _timed(a[:64], b)
    if min(_timed(a[:64], b) for _ in range(3)) > 0.01:  # emulated: all rows would take a third of a second each time
        a = a[:64]
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, _timed(a, b))
    return 2 * a.shape[0] * a.shape[1] * b.shape[1] / best / 1e9


def _timed(a: Tensor, b: Tensor) -> float:
    start = time.perf_counter()
    a @ b
    return time.perf_counter() - start
