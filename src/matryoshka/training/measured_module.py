"""The base of the training module: progress, what is known of updates, rows for the loggers, the weights to measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from matryoshka.encoder.encoder import Encoder
from matryoshka.training.callbacks.other_weights import OtherWeights
from matryoshka.training.clipping import clip_gradients, clip_in_step, clips_itself
from matryoshka.training.epoch_batches import use_micro_batches
from matryoshka.training.log_rows import LogRows, MicroBatch
from matryoshka.training.nonfinite import NonFiniteGuard, Step
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.progress import Progress


class MeasuredModule(pl.LightningModule):
    """A module that keeps count of its updates and of its evaluations, and leaves out what is not finite."""

    encoder: Encoder

    def __init__(
        self, plan: TrainingPlan, max_grad_norm: float, log_every: int, nonfinite: NonFiniteGuard | None
    ) -> None:
        super().__init__()
        self.plan = plan
        self.max_grad_norm, self.log_every = max_grad_norm, log_every
        self.first_batch = 0  # of the present epoch: the one where a run goes on
        self.nonfinite = nonfinite or NonFiniteGuard()
        self.log_rows = LogRows()
        self.step: Step | None = None  # the last update, while it is not known whether it was finite
        self.progress = Progress()
        self.last_row: dict[str, float] = {}

    @property
    def updates(self) -> int:
        """Updates made."""
        return self.progress.updates

    @property
    def logs_next(self) -> bool:
        """Whether the next update is one with a row in the log."""
        return (self.updates + 1) % self.log_every == 0

    def on_train_epoch_start(self) -> None:
        """Use all micro-batches of the epoch. Time spent between epochs, in evaluations, is no training time."""
        use_micro_batches(self.trainer, self.plan.micro_batches[self.current_epoch], self.first_batch)
        self.log_rows.start_clock()

    def clip(self, optimizer: Any, window: Sequence[MicroBatch], shares: Mapping[int, Tensor]) -> Step:
        """Clip the gradients of an update, or have the optimizer do it; where they are broken it will do nothing.

        optimizer: as Lightning gives it, which wraps the one that makes the step.
        """
        optimizer = getattr(optimizer, "optimizer", optimizer)
        gradients = {name: p.grad for name, p in self.encoder.named_parameters() if p.grad is not None}
        step = self.step = Step.of(self.updates + 1, self.current_epoch + 1, window, gradients, shares)
        if clips_itself(optimizer):
            clip_in_step(optimizer, self.max_grad_norm, step.norm, step.broken)
        elif self.settle():
            clip_gradients(self.encoder.parameters(), self.max_grad_norm, step.norm)
        else:
            optimizer.zero_grad(set_to_none=True)
        return step

    def settle(self) -> bool:
        """Whether the last update was made, which is read now if it is not known yet. Raises NotFiniteError.

        A GPU is asked when the next update is due, and has the answer by then. Where the update was broken, the
        optimizer has left weights and averages as they were, and so the next gradient is of the weights before it.
        """
        step, self.step = self.step, None
        made = step is None or self.nonfinite.allows(step, self.encoder)
        if step is not None and made:
            self.log_rows.count(step.window, step.shares)
        return made

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
