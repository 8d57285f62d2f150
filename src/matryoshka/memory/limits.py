"""Where memory runs out, the error says which setting to lower, and to what."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch

from matryoshka.memory.estimate import MemoryEstimate, MemorySettings, RunMemory
from matryoshka.memory.peak import peak_memory

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
ON_DISK = "; or give evaluator.on_disk=true (the documents' embeddings in a file, the same result)"


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
    together = [lever("tokens_at_once", "tokens_at_once", now.tokens_at_once, 0, "the same result")]
    return [
        *(together if now.tokens_at_once else []),
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


@dataclass(frozen=True)
class MemoryLimits:
    """What a run needs and had before it started. memory: None where nothing was estimated, as in an evaluation alone.

    settings: with the batch size and the longest text. available: in bytes; None if unknown. before: the peak until
    then. may_go_to_disk: whether evaluator.on_disk=true would take the documents' embeddings out of memory.
    """

    settings: MemorySettings
    device: torch.device
    memory: RunMemory | None = None
    available: float | None = None
    before: int | None = None
    may_go_to_disk: bool = True

    def needed(self) -> MemoryEstimate:
        """By the estimate."""
        assert self.memory is not None
        return self.memory.estimate(self.settings)

    def at_hand(self) -> float | None:
        """Bytes that the run can have, as it turned out: what it had taken when it ran out, if that was not little."""
        assert self.memory is not None
        if (peak := peak_memory(self.device)) is None or self.before is None or self.available is None:
            return self.available
        # A GPU's peak is that of its tensors, a CPU's that of the whole process.
        taken = peak if self.device.type == "cuda" else peak - self.before + self.memory.weights + self.memory.frozen
        return taken if self.available / 2 < taken < self.available else self.available


@contextmanager
def shortage_explained(limits: MemoryLimits) -> Iterator[None]:
    """Raise MemoryShortageError where memory runs out inside, in training or in an evaluation."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error) or (stage := _stage(error)) is None:
            raise
        raise MemoryShortageError(_message(limits, stage, error)) from error


def _stage(error: BaseException) -> Stage | None:
    """What the program was at, by the functions that the error came through."""
    modules = {frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)}
    if any(name.startswith("matryoshka.evaluation.") for name in modules):
        return "evaluation"
    return "training" if "matryoshka.training.module" in modules else None


def _message(limits: MemoryLimits, stage: Stage, error: BaseException) -> str:
    device = "CPU" if limits.device.type == "cpu" else "GPU"
    # An evaluation on a GPU keeps the embeddings in the memory of its host.
    on_disk = ON_DISK if stage == "evaluation" and limits.may_go_to_disk and limits.device.type == "cpu" else ""
    said = f"out of memory on the {device} in {'training' if stage == 'training' else 'an evaluation'}"
    if limits.memory is None:
        lower = f"evaluator.token_budget={max(1, limits.settings.token_budget // 2)} (the same result; it is "
        return f"{said}. Lower one of these: {lower}{limits.settings.token_budget}){on_disk}"
    peak, needed = peak_memory(limits.device), limits.needed()
    need = needed.peak if stage == "training" else needed.in_evaluation
    facts = [f"it was estimated to need {_gigabytes(need)}"]
    if limits.available is not None:
        facts.append(f"{_gigabytes(limits.available)} were available")
    if peak is not None:
        facts.append(f"it had taken {_gigabytes(peak)} at most")
    found = levers(limits.memory.estimate, limits.settings, limits.at_hand(), stage)
    helping = [lever for lever in found if lever.largest is not None] or found
    lower = "; or ".join(map(str, helping))
    return f"{said}: {', '.join(facts)}. Lower one of these: {lower}{on_disk}"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
