"""The training on disk, so that it goes on to the same end whenever it was cut off."""

from __future__ import annotations

import logging
import math
import time
from copy import deepcopy
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Le

from matryoshka.data.packing import PackedBatch
from matryoshka.errors import StoppedError
from matryoshka.processes.launched import launched
from matryoshka.processes.signals import SignalsInTraining
from matryoshka.processes.together import add_up, from_all, from_first, is_first, processes, rank
from matryoshka.training.callbacks.going_on import begin_in, epoch_to_begin
from matryoshka.training.checkpoints.kept import Best, KeptCheckpoints
from matryoshka.training.checkpoints.parts import Parts, states
from matryoshka.training.checkpoints.random_states import random_states, restore_random_states
from matryoshka.training.module import EmbeddingModule

log = logging.getLogger(__name__)

State = dict[str, Any]
Minutes = Annotated[float, Ge(0), Le(1_000_000), "10"]


class Checkpoints(pl.Callback):
    """Saves the state as of the last update after every evaluation, every `minutes`, and when a signal asks to stop.

    An open accumulation window is saved as it began and computed again. This callback stands behind EpochEvaluation.
    parts: everything with a state besides optimizer and schedule. state: the saved state to go on from.
    """

    def __init__(
        self, kept: KeptCheckpoints, parts: Parts, minutes: Minutes | None = 10, state: State | None = None
    ) -> None:
        self.kept = kept
        self.parts = parts
        self.minutes = minutes
        self.state = state
        self.best = Best(**state["best"]) if state and state["best"] else None
        self.begins_in = 0  # the epoch
        self.at_update: State = {}
        self.before_evaluation: State = {}
        self.saved_at, self.saved_update = time.monotonic(), state["update"] if state else 0
        self.signals = SignalsInTraining(once=launched() is not None)

    def restore(self) -> None:
        """Give the parts their states: then the training can begin, or is known to be over."""
        if self.state is not None:
            self.parts.load(self.state["of_step"][rank()]["parts"], self.state["of_run"])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin in the epoch and with the micro-batch that follow the last update."""
        assert isinstance(pl_module, EmbeddingModule)
        self.signals.note_handlers()
        if self.state is None:
            self.at_update = self._of_step(trainer, pl_module, 0, 0)
            return
        self.begins_in = epoch = epoch_to_begin(self.state, pl_module)
        begin_in(trainer, epoch)
        sampler = trainer.datamodule.sampler  # type: ignore[attr-defined]
        sampler.set_epoch(epoch)
        pl_module.first_batch = self.state["micro_batch"] if epoch == self.state["epoch"] else 0
        sampler.start_at(pl_module.first_batch)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give optimizer, schedule and generators their states, when nothing else draws from these any more."""
        assert isinstance(pl_module, EmbeddingModule)
        if self.state is None:
            return
        trainer.optimizers[0].load_state_dict(self.state.pop("optimizer"))  # which takes the most memory
        trainer.lr_scheduler_configs[0].scheduler.load_state_dict(self.state["scheduler"])
        restore_random_states(self.state["of_step"][rank()]["random"])
        self.at_update = {**self.state["of_step"][rank()], "epoch": self.state["epoch"]}
        self.at_update |= {"update": self.state["update"], "micro_batch": self.state["micro_batch"]}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell Lightning, which stops by it, of the updates before; later epochs begin with their first micro-batch."""
        assert isinstance(pl_module, EmbeddingModule)
        progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.total.ready = progress.total.completed = pl_module.updates
        if trainer.current_epoch != self.begins_in:
            pl_module.first_batch = 0
        plan = pl_module.plan
        if pl_module.first_batch < plan.micro_batches[trainer.current_epoch] and pl_module.updates < plan.updates:
            self.signals.wait()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: PackedBatch, batch_idx: int
    ) -> None:
        """After an update note the state; save it where it is time; stop where any process was asked to."""
        assert isinstance(pl_module, EmbeddingModule)
        last = trainer.is_last_batch or pl_module.updates == pl_module.plan.updates
        if pl_module.updates > self.at_update["update"]:
            next_batch = pl_module.first_batch + batch_idx + 1
            self.at_update = self._of_step(trainer, pl_module, trainer.current_epoch, next_batch)
            self._save_or_stop(trainer, pl_module)
        elif last:
            self._save_or_stop(trainer, pl_module)
        if last:  # what follows is an evaluation, of which nothing need be finished
            pl_module.settle()
            self.before_evaluation = self._of_run(trainer)
            self.signals.restore()
            if self.signals.received and processes() == 1:  # it came while a checkpoint was written
                self.kept.wait()
                self.signals.act(self.signals.received)

    def _of_step(self, trainer: pl.Trainer, module: EmbeddingModule, epoch: int, micro_batch: int) -> State:
        """The state that later micro-batches change. micro_batch: the next one of the epoch, from 0."""
        trainer.datamodule.sampler.reached = (epoch, micro_batch)  # type: ignore[attr-defined]
        of_step = {"parts": deepcopy(states(self.parts.of_step)), "random": random_states()}
        return {**of_step, "update": module.updates, "epoch": epoch, "micro_batch": micro_batch}

    def _of_run(self, trainer: pl.Trainer) -> State:
        """The state that an evaluation may change: one that is cut off is done again from its beginning."""
        return {
            "of_run": states(self.parts.of_run),
            "scheduler": deepcopy(trainer.lr_scheduler_configs[0].scheduler.state_dict()),
        }

    def _save_or_stop(self, trainer: pl.Trainer, module: EmbeddingModule) -> None:
        asked = torch.zeros(processes(), dtype=torch.int64)
        asked[rank()] = self.signals.received or 0
        due = self.minutes is not None and time.monotonic() > self.saved_at + 60 * self.minutes
        # One message, on the host: all processes save and stop after the same update.
        *signals, save = add_up(torch.cat([asked, torch.tensor([due and is_first()])])).tolist()
        if save or any(signals):
            self.save(trainer, module)
        if any(signals):
            from_first(self.kept.wait)
            self.signals.act(max(signals))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After the evaluation: note whether these weights are the best, and save."""
        assert isinstance(pl_module, EmbeddingModule)
        if trainer.fit_loop.max_batches == 0:  # nothing but this evaluation was left of the epoch
            trainer.fit_loop.max_batches = 1  # else Lightning believes that there is nothing to train on
        value = pl_module.progress.selecting[trainer.current_epoch]
        value = -math.inf if math.isnan(value) else value
        if self.best is None or value > self.best.value:
            self.best = Best(pl_module.updates, value)
        self.save(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last checkpoint is on disk; signals do again what they did."""
        from_first(self.kept.finish)
        self.signals.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Signals do again what they did. A stop during an evaluation first saves the updates before it.

        With several processes none can save alone. What is being written is finished, unless by a second Ctrl-C.
        """
        assert isinstance(pl_module, EmbeddingModule)
        evaluating = not self.signals.waiting and pl_module.updates > self.saved_update
        if isinstance(exception, StoppedError) and evaluating and processes() == 1:
            self.save(trainer, pl_module, **self.before_evaluation)
        self._settle(exception)
        self.signals.restore()

    def _settle(self, exception: BaseException) -> None:
        """Have on disk what was saved. Raises why it is not, unless that would hide the error that ends the run."""
        try:
            if self.signals.at_once:
                self.kept.abandon()
            self.kept.finish()
        except Exception as error:
            if isinstance(exception, StoppedError):
                raise
            log.warning("the last checkpoint was not written: %s", error)
        except BaseException:  # a signal that is not waited for
            self.kept.abandon()
            raise

    def save(self, trainer: pl.Trainer, module: EmbeddingModule, **instead: Any) -> None:
        """Write the state as of the last update; every process takes part. instead: replaces entries of it."""
        module.settle()  # what was not made is not counted
        mine = {name: self.at_update[name] for name in ("parts", "random")}
        state = {name: self.at_update[name] for name in ("update", "epoch", "micro_batch")} | {
            "of_step": from_all(mine),
            "optimizer": trainer.optimizers[0].state_dict(),
            "best": vars(self.best) if self.best else None,
            "vocabulary": rows_trained(module),
        }
        state |= self._of_run(trainer) | instead
        others = module.weights_to_measure if module.other_weights else None
        from_first(lambda: self.kept.save(module.updates, module.encoder, state, others))
        self.saved_at, self.saved_update = time.monotonic(), module.updates


def rows_trained(module: EmbeddingModule) -> torch.Tensor | None:
    """Which rows of the word-embedding table are trained; None: all."""
    vocabulary = module.encoder.vocabulary
    return None if vocabulary is None else vocabulary.kept_rows
