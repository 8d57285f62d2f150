"""In which epoch a training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from matryoshka.training.module import EmbeddingModule


def epoch_to_begin(state: Mapping[str, Any], module: EmbeddingModule) -> int:
    """The epoch of the next micro-batch; an epoch that is over and evaluated is not begun again."""
    epoch: int = state["epoch"]
    over = state["micro_batch"] == module.plan.micro_batches[epoch] and epoch < len(module.progress.selecting)
    return epoch + over


def begin_in(trainer: pl.Trainer, epoch: int) -> None:
    """Have Lightning begin with this epoch."""
    for progress in (trainer.fit_loop.epoch_progress.total, trainer.fit_loop.epoch_progress.current):
        progress.ready = progress.completed = epoch
        progress.started = progress.processed = epoch  # type: ignore[attr-defined]
