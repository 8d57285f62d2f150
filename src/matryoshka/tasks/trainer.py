"""Lightning's module and Trainer as a recipe wants them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.mixture_sampler import MixtureSampler
from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.processes.launched import launched
from matryoshka.processes.together import is_first
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal.result_table import show_epoch
from matryoshka.sweep.trial import read_trial
from matryoshka.tasks.make_loss import make_loss
from matryoshka.tasks.start_point import StartPoint
from matryoshka.training.callbacks.checkpoint import Checkpoints
from matryoshka.training.callbacks.evaluation import EpochEvaluation
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.callbacks.progress import TrainingProgress
from matryoshka.training.callbacks.pruning import Pruning
from matryoshka.training.checkpoints.parts import Parts
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.nonfinite import NonFiniteGuard
from matryoshka.training.own_rate import with_own_rate
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.several_processes import trainer_options


def training_plan(recipe: TrainingRecipe, batches: PairsModule) -> TrainingPlan:
    """Updates and micro-batches of the whole run."""
    trainer = recipe.config["trainer"]
    counts = batches.micro_batches(trainer["max_epochs"], trainer.get("limit_train_batches"))
    return TrainingPlan(counts, recipe.accumulation, recipe.accumulation_across_epochs)


def make_module(recipe: TrainingRecipe, encoder: Encoder, plan: TrainingPlan) -> EmbeddingModule:
    """The LightningModule, with the recipe's loss, optimizer and schedule."""
    return EmbeddingModule(
        encoder,
        make_loss(recipe),
        plan,
        with_own_rate(recipe.optimizer, encoder, recipe.projection.lr if recipe.projection else None),
        recipe.scheduler,
        recipe.max_grad_norm,
        recipe.config["trainer"].get("log_every_n_steps") or 10,
        recipe.pairs_at_once,
        NonFiniteGuard(recipe.not_finite, recipe.skipped_at_most),
        0 if recipe.tokens_at_once == "auto" else recipe.tokens_at_once,  # a run has decided it before
    )


@dataclass(frozen=True)
class Training:
    """A Trainer with what it trains. log: the file of all its rows. checkpoints: what keeps it on disk."""

    trainer: pl.Trainer
    module: EmbeddingModule
    batches: PairsModule
    log: MetricsFile
    checkpoints: Checkpoints

    def fit(self) -> None:
        """Train; Ctrl-C is a KeyboardInterrupt."""
        try:
            self.trainer.fit(self.module, self.batches)
        except SystemExit:
            # Lightning ends the process with 1 on Ctrl-C; the command line knows better (130).
            if self.trainer.interrupted:
                raise KeyboardInterrupt from None
            raise


def make_loggers(recipe: TrainingRecipe, folder: Path) -> tuple[Logger, ...]:
    """The file of all rows, and the recipe's tracker beside it."""
    loggers: list[Logger] = [MetricsFile(folder / "metrics.jsonl")]
    if recipe.logger and is_first():
        loggers.append(recipe.logger(save_dir=str(folder)))
        loggers[-1].log_hyperparams({**recipe.config, "stand_in": list(recipe.stand_in)})
    return tuple(loggers)


def make_training(
    recipe: TrainingRecipe,
    folder: Path,
    module: EmbeddingModule,
    batches: PairsModule,
    loggers: Sequence[Logger],
    measure: Any,
    prefix: str = "",
    start: StartPoint | None = None,
) -> Training:
    """measure: makes an EvaluationResult of the weights as they are; prefix: in front of its metrics in the log.

    Raises UserError for a device that is not there.
    """
    log = next(logger for logger in loggers if isinstance(logger, MetricsFile))
    selected = recipe.evaluator.selected(recipe.dims)
    start = start or StartPoint.anew(recipe.config, folder)
    if isinstance(batches.sampler, MixtureSampler):
        module.log_rows.source_of = batches.sampler.source_of
    parts = Parts.among(
        of_step={"loss": module.loss, "sampler": batches.sampler, "negatives": batches.negatives},
        of_run={
            "progress": module.progress,
            "log_rows": module.log_rows,
            "nonfinite": module.nonfinite,
            "log": log,
            **{f"callbacks.{name}": callback for name, callback in recipe.callbacks.items()},
        },
    )
    checkpoints = recipe.checkpoint(start.kept, parts, state=start.state)
    evaluation = EpochEvaluation(measure, selected, show_epoch, prefix)
    trainer = _trainer(recipe, folder, [*_watching(recipe), evaluation, checkpoints], loggers, module.plan.updates)
    return Training(trainer, module, batches, log, checkpoints)


def _watching(recipe: TrainingRecipe) -> list[pl.Callback]:
    """The recipe's callbacks, the bar first, so that it is gone when an evaluation shows its own."""
    bar = recipe.config["trainer"].get("enable_progress_bar", True)
    watching = [call for call in recipe.callbacks.values() if bar or not isinstance(call, TrainingProgress)]
    return sorted(watching, key=lambda call: not isinstance(call, TrainingProgress))


def _trainer(
    recipe: TrainingRecipe, folder: Path, callbacks: list[pl.Callback], loggers: Sequence[Logger], updates: int
) -> pl.Trainer:
    if (trial := read_trial(folder)) and not launched():  # with several processes none could say why it ended
        callbacks = [*callbacks, Pruning(trial.report, recipe.evaluator.selected(recipe.dims))]
    options = {
        # The bar and the interval are ours: the module logs by updates, Lightning would count micro-batches.
        "enable_progress_bar": False,
        "log_every_n_steps": 1,
        "logger": list(loggers),
        "callbacks": callbacks,
        "max_steps": updates,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "enable_checkpointing": False,
        "default_root_dir": str(folder),
    }
    try:
        return recipe.trainer(**options, **trainer_options())
    except Exception as error:  # Lightning refuses a device that is not there
        raise UserError(f"trainer: {error}") from error


def finish(loggers: Sequence[Logger], record: TrainingRecord, folder: Path) -> None:
    """The last words of those trackers that take a record."""
    for logger in loggers:
        if hasattr(logger, "finish_record"):
            logger.finish_record(record, folder)


@contextmanager
def closed_if_failed(loggers: Sequence[Logger]) -> Iterator[None]:
    """Whatever ends a run early closes its trackers as failed: the next job of a sweep must not write into them."""
    try:
        yield
    except BaseException:
        for logger in loggers:
            logger.finalize("failed")
        raise
