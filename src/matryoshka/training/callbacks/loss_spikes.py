"""A line in the log for each loss spike."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl

from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.loss_spikes import LOSS, loss_spikes

log = logging.getLogger("matryoshka")


class LossSpikes(pl.Callback):
    """Looks at each logged row once it is there, so nothing more is read from the device."""

    def __init__(self) -> None:
        self.seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rows from before a run went on have been looked at."""
        self.seen = len(_rows(trainer))

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Say where a spike begins."""
        rows = _rows(trainer)
        fresh, self.seen = len(rows) > self.seen, len(rows)
        if fresh and LOSS in rows[-1]:
            for spike in loss_spikes(rows[-1000:], last=True):
                log.warning("loss spike at %s", spike)


def _rows(trainer: pl.Trainer) -> list[dict[str, float]]:
    """All rows logged so far."""
    return next((logger.rows for logger in trainer.loggers if isinstance(logger, MetricsFile)), [])
