"""The dims that count in a micro-batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from torch import nn


class DrawnDims(nn.Module):
    """In training only so many dims in each micro-batch, drawn anew by `seed`; none or too many: all of them.

    They are drawn as sentence-transformers' n_dims_per_step draws right after random.seed(seed). In evaluation all
    count. Raises ValueError if per_step is below 1.
    """

    def __init__(self, dims: Sequence[int], per_step: int | None = None, seed: int = 42) -> None:
        super().__init__()
        if per_step is not None and per_step < 1:
            raise ValueError(f"dims_per_step={per_step}: at least one dim must count")
        self.dims, self.per_step = list(dims), per_step
        self.random = random.Random(seed)

    def forward(self) -> list[int]:
        """The dims that count in the next micro-batch."""
        if not self.training or self.per_step is None or self.per_step >= len(self.dims):
            return self.dims
        return [self.dims[i] for i in self.random.sample(range(len(self.dims)), self.per_step)]

    def get_extra_state(self) -> Any:
        """The state of the draws."""
        return self.random.getstate()

    def set_extra_state(self, state: Any) -> None:
        """Go on drawing from a saved state."""
        version, numbers, rest = state
        self.random.setstate((version, tuple(numbers), rest))
