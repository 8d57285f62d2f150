"""An evaluation after every epoch, and after the last update wherever it falls."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl

from matryoshka.evaluation.result import EvaluationResult
from matryoshka.training.module import EmbeddingModule


class EpochEvaluation(pl.Callback):
    """Measures the encoder at the end of every epoch and logs every metric; `selected` is what a checkpoint monitors.

    measure: () -> result, of the encoder in training. show: called with (result, epoch, update) after each. prefix: in
    front of the metrics' names in the log.
    """

    def __init__(
        self,
        measure: Callable[[], EvaluationResult],
        selected: str,
        show: Callable[[EvaluationResult, float, int], object] | None = None,
        prefix: str = "",
    ) -> None:
        self.measure = measure
        self.selected = selected
        self.show = show
        self.prefix = prefix

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate, log to every logger, and let the checkpoint callback see the selecting metric."""
        assert isinstance(pl_module, EmbeddingModule)
        pl_module.log_rows.pause()
        if trainer.current_epoch < len(pl_module.progress.selecting):  # known since before the run was cut off
            return
        with pl_module.weights_to_measure():
            result = self.measure()
        pl_module.record({f"{self.prefix}{name}": value for name, value in result.flat().items()})
        pl_module.log(self.selected, result.value(self.selected), logger=False)
        pl_module.evaluated(result.value(self.selected))
        if self.show:
            self.show(result, pl_module.plan.epoch_at(pl_module.updates), pl_module.updates)
