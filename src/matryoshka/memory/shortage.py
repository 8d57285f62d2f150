"""Memory that ran out: which setting to lower, and to what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from matryoshka.memory.estimate import MemoryEstimate, MemorySettings

Stage = Literal["training", "evaluation"]
# The allocators of a CPU and of MPS raise plain RuntimeErrors, and so do CUDA itself and its libraries.
MESSAGES = (
    "can't allocate memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
KEEPS = 0.6  # of what there is: an estimate sees neither what kernels take for themselves nor what lies idle
SHORTEST = 8  # tokens: of shorter texts little is left


class MemoryShortageError(RuntimeError):
    """Memory ran out; the message says what to lower and to what."""


@dataclass(frozen=True)
class Lever:
    """A setting to lower. largest: its largest value that fits by the estimate; None if none does."""

    key: str
    now: int
    largest: int | None
    costs: str

    def __str__(self) -> str:
        if self.largest is None:
            return f"{self.key} alone does not help, however low"
        return f"{self.key}={self.largest} ({self.costs}; it is {self.now})"


def is_shortage(error: BaseException) -> bool:
    """Whether it says that memory ran out, on whatever device."""
    if isinstance(error, RuntimeError) and not isinstance(error, MemoryShortageError):
        return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in MESSAGES)
    return isinstance(error, MemoryError)


def levers(
    estimate: Callable[[MemorySettings], MemoryEstimate], now: MemorySettings, available: float | None, stage: Stage
) -> list[Lever]:
    """What may be lowered, each alone, what changes the result least first.

    now: the settings, with a batch size and a longest text. available: bytes there were at the start. Where the run
    had seemed to fit, the estimate was too low, and only what is well below it counts as fitting.
    """

    def needed(settings: MemorySettings) -> float:
        return estimate(settings).peak if stage == "training" else estimate(settings).in_evaluation

    fits = KEEPS * min(needed(now), available or needed(now))
    assert now.batch_size is not None and now.max_seq_length is not None
    at_once = min(now.pairs_at_once or now.batch_size, now.batch_size)

    def lever(key: str, field: str, value: int, least: int, costs: str) -> Lever:
        def fitting(lower: int) -> bool:
            return needed(replace(now, **{field: lower})) <= fits

        return Lever(key, value, _largest(fitting, least, value - 1), costs)

    if stage == "evaluation":
        return [lever("evaluator.token_budget", "token_budget", now.token_budget, 1, "the same result")]
    return [
        lever("pairs_at_once", "pairs_at_once", at_once, 1, "the same result, for a third more time"),
        lever("batch_size", "batch_size", now.batch_size, 2, "fewer in-batch negatives"),
        lever("encoder.max_seq_length", "max_seq_length", now.max_seq_length, SHORTEST, "longer texts are cut"),
    ]


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int | None:
    """The largest number from low to high that fits, where all below one that fits do; None if none does."""
    if high < low or not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
