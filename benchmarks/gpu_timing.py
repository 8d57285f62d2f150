"""Seconds on a device, the rate of its products, and lines of results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from matryoshka.training.flops import measured_rate
from matryoshka.training.precision import gigaflops


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """10^12 operations a second of large products of random numbers."""
    return gigaflops(device, dtype) / 1e3 if device.type == "cpu" else measured_rate(device, dtype, 8192) / 1e12


def timed(work: Callable[[], object], device: torch.device, repeats: int, warm: int = 0) -> float:
    """Seconds of one, the device's work included."""
    for _ in range(warm):
        work()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def tell(**found: Any) -> None:
    """A line of results."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in found.items()}
    print(json.dumps(rounded), flush=True)
