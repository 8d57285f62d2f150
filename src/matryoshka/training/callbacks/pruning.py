"""The end of a trial that is behind the others of its search."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl

from matryoshka.errors import PrunedError
from matryoshka.training.module import EmbeddingModule


class Pruning(pl.Callback):
    """Reports the selecting metric after each epoch, once it was measured; stands behind EpochEvaluation.

    report: (value, epoch from 1) -> whether to give up.
    """

    def __init__(self, report: Callable[[float, int], bool], selected: str) -> None:
        self.report = report
        self.selected = selected

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises PrunedError where the trial should be given up; after the last update nothing is left to spare."""
        assert isinstance(pl_module, EmbeddingModule)
        if self.selected not in trainer.callback_metrics:  # reported before the run was cut off
            return
        value, epoch = float(trainer.callback_metrics[self.selected]), trainer.current_epoch + 1
        if self.report(value, epoch) and pl_module.updates < pl_module.plan.updates:
            for logger in trainer.loggers:
                logger.finalize("pruned")  # before whoever sees the error closes it as failed
            raise PrunedError(value, epoch)
