"""Where memory runs out, the error says which setting to lower and to what."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from matryoshka.memory.estimate import MemoryEstimate, MemorySettings, RunMemory
from matryoshka.memory.peak import peak_memory
from matryoshka.memory.shortage import MemoryShortageError, Stage, is_shortage, levers

ON_DISK = "; or give evaluator.on_disk=true (the documents' embeddings in a file, the same result)"


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
        taken = peak if self.device.type == "cuda" else peak - self.before + self.memory.weights
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
