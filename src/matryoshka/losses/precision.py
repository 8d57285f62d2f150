"""Products in fp32 as IEEE 754 has them, where a GPU would round their inputs to tf32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def ieee_products() -> Iterator[None]:
    """Inside, fp32 products are computed in fp32, whatever the run allows elsewhere; a setting of the host alone."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
