"""Dropout that draws its random numbers fast on a CPU: four elements' from one number of 64 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARTS = 1 << 16  # an element's number has 16 bits, so p is rounded to a 65,536th


def keep_mask(shape: Sequence[int], p: float, dtype: torch.dtype = torch.uint8) -> tuple[Tensor, float]:
    """Which elements stay (1, else 0; on the CPU) and what they are multiplied by, so that the mean is what it was.

    Each stays with probability 1 - p, p rounded to a 65,536th, independently. torch's generator decides, so a seed
    repeats the mask. `F.dropout` draws one number of 64 bits an element on one thread, which takes ten times as long.
    dtype: of the mask; torch multiplies by bool four times as slowly as by uint8.
    """
    dropped = round(p * PARTS)
    kept = torch.empty(tuple(shape), dtype=dtype)
    if dropped == PARTS:
        return kept.zero_(), 0.0
    words = torch.empty(-(-kept.numel() // 4), dtype=torch.int64)
    words.random_(-(2**63), None)  # all 64 bits; without bounds the highest would always be 0
    torch.ge(words.view(torch.int16)[: kept.numel()].view(kept.shape), dropped - PARTS // 2, out=kept)
    return kept, PARTS / (PARTS - dropped)


class Dropout(nn.Dropout):
    """nn.Dropout; on a CPU with masks of keep_mask."""

    def forward(self, input: Tensor) -> Tensor:
        """The input in evaluation, else with elements dropped and the others scaled."""
        if not self.training or self.p == 0:
            return input
        if input.device.type != "cpu":
            return F.dropout(input, self.p, training=True)
        dropped: Tensor = _Dropped.apply(input, self.p)  # type: ignore[no-untyped-call]
        return dropped


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept, ctx.scale = keep_mask(x.shape, p)
        ctx.save_for_backward(kept)
        return x.mul(kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradient.mul(kept).mul_(ctx.scale), None


def use_fast_dropout(model: nn.Module) -> None:
    """Put a Dropout in the place of every nn.Dropout of a model."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
