"""A line in the log for each loss spike."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl

from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.loss_spikes import LOSS, loss_spikes

log = logging.getLogger("matryoshka")


class SpikeNotes(pl.Callback):
    """Looks at each logged row once it is there, so nothing more is read from the device."""

    def __init__(self, metrics: MetricsFile) -> None:
        self.metrics = metrics
        self.seen = 0

    def on_train_start(self, *args: Any, **kwargs: Any) -> None:
        """Rows from before a run went on have been looked at."""
        self.seen = len(self.metrics.rows)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Say where a spike begins."""
        rows = self.metrics.rows
        fresh, self.seen = len(rows) > self.seen, len(rows)
        if fresh and LOSS in rows[-1]:
            for spike in loss_spikes(rows[-1000:], last=True):
                log.warning("loss spike at %s", spike)
