"""Products of matrices in fp32 as IEEE 754 has them, where a run allows faster ones that round more coarsely."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def ieee_products() -> Iterator[None]:
    """No tf32 or bf16 inside products of fp32; what was allowed before is allowed again behind it.

    It holds for the whole process. A backward pass outside of it makes its products as those outside are made.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
