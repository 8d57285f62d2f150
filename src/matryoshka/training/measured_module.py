"""The base of the training module: progress, rows for the loggers, the weights to measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytorch_lightning as pl
from torch.optim.lr_scheduler import ReduceLROnPlateau

from matryoshka.training.callbacks.other_weights import OtherWeights
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.progress import Progress


class MeasuredModule(pl.LightningModule):
    """A module that keeps count of its updates and of its evaluations."""

    def __init__(self, plan: TrainingPlan) -> None:
        super().__init__()
        self.plan = plan
        self.progress = Progress()
        self.last_row: dict[str, float] = {}

    @property
    def updates(self) -> int:
        """Updates made."""
        return self.progress.updates

    def evaluated(self, value: float) -> None:
        """Note the selecting metric's value; a schedule that goes by it takes a step."""
        self.progress.selecting.append(value)
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(value)

    def record(self, row: dict[str, float]) -> None:
        """Give one row to every logger, with the epoch as transformers counts it."""
        self.last_row = {**row, "epoch": round(self.plan.epoch_at(self.updates), 4)}
        for logger in self.loggers:
            logger.log_metrics(self.last_row, step=self.updates)

    @property
    def other_weights(self) -> list[OtherWeights]:
        """Callbacks that have other weights than the trained ones to measure and to save as best."""
        callbacks = self.trainer.callbacks if self._trainer else []  # type: ignore[attr-defined]
        return [callback for callback in callbacks if isinstance(callback, OtherWeights)]

    @contextmanager
    def weights_to_measure(self) -> Iterator[None]:
        """Inside, the encoder has the weights that are measured and saved as best."""
        with ExitStack() as stack:
            for callback in self.other_weights:
                stack.enter_context(callback.weights_to_measure(self))
            yield
