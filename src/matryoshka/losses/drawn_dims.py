"""The dims that count in a micro-batch, and where each of them is cut."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

Cuts = Literal["dims", "nested"]


class DrawnDims(nn.Module):
    """Which dims count in a micro-batch, each with its cut: so many numbers of an embedding it has there.

    In evaluation all dims count, cut at themselves. In training `per_step` of them do, drawn anew for each micro-batch
    as sentence-transformers' n_dims_per_step draws right after random.seed(seed); none or too many: all of them.
    cuts: `dims`, at themselves; `nested`, each at a number drawn uniformly from those above the next narrower dim up to
    its own (the narrowest: above its half). Which dims count is drawn first. Raises ValueError if per_step is below 1.
    """

    def __init__(self, dims: Sequence[int], per_step: int | None = None, seed: int = 42, cuts: Cuts = "dims") -> None:
        super().__init__()
        if per_step is not None and per_step < 1:
            raise ValueError(f"dims_per_step={per_step}: at least one dim must count")
        self.dims, self.per_step, self.cuts = sorted(dims, reverse=True), per_step, cuts
        self.random = random.Random(seed)

    def forward(self) -> dict[int, int]:
        """dim -> its cut, of the dims that count in the next micro-batch."""
        dims = self.dims
        if self.training and self.per_step is not None and self.per_step < len(dims):
            dims = [dims[i] for i in self.random.sample(range(len(dims)), self.per_step)]
        if not self.training or self.cuts == "dims":
            return {dim: dim for dim in dims}
        below = dict(zip(self.dims, [*self.dims[1:], self.dims[-1] // 2], strict=True))
        return {dim: self.random.randint(below[dim] + 1, dim) for dim in dims}

    def get_extra_state(self) -> Any:
        """The state of the draws."""
        return self.random.getstate()

    def set_extra_state(self, state: Any) -> None:
        """Go on drawing from a saved state."""
        version, numbers, rest = state
        self.random.setstate((version, tuple(numbers), rest))
