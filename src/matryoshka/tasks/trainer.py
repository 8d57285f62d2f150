"""Lightning's Trainer as a run needs it: its evaluations, its checkpoint, its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from pytorch_lightning.loggers import Logger

from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.processes.launched import launched
from matryoshka.processes.together import is_first
from matryoshka.report.terminal.result_table import show_epoch
from matryoshka.sweep.trial import read_trial
from matryoshka.tasks.beginning import Beginning
from matryoshka.tasks.processes import trainer_options
from matryoshka.tasks.setup import stand_in
from matryoshka.training.callbacks.checkpoint import Checkpoints
from matryoshka.training.callbacks.evaluation import EpochEvaluation
from matryoshka.training.callbacks.loss_spikes import SpikeNotes
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.callbacks.progress import TrainingProgress
from matryoshka.training.callbacks.pruning import Pruning
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.nonfinite import FiniteUpdates
from matryoshka.training.plan import TrainingPlan

Config = Mapping[str, Any]


def training_plan(config: Config, batches: PairsModule) -> TrainingPlan:
    """Updates and micro-batches of the whole run."""
    trainer = config["trainer"]
    counts = batches.micro_batches(trainer["max_epochs"], trainer.get("limit_train_batches"))
    return TrainingPlan(counts, config["accumulation"], config["accumulation_across_epochs"])


def make_loss(config: Config) -> MatryoshkaLoss:
    """The configured loss over the configured dims."""
    loss = instantiate(config["loss"], _convert_="all")
    return MatryoshkaLoss(loss, config["dims"], config["dim_weights"], config["dims_per_step"], config["seed"])


def make_module(config: Config, encoder: Encoder, plan: TrainingPlan) -> EmbeddingModule:
    """The LightningModule, with the configured loss, optimizer and schedule."""
    return EmbeddingModule(
        encoder,
        make_loss(config),
        plan,
        instantiate(config["optimizer"], _convert_="all"),
        instantiate(config["scheduler"], _convert_="all"),
        config["max_grad_norm"],
        config["trainer"].get("log_every_n_steps") or 10,
        config["pairs_at_once"],
        FiniteUpdates(config["not_finite"], config["skipped_at_most"]),
    )


def make_trainer(
    config: Config,
    folder: Path,
    plan: TrainingPlan,
    selected: str,
    measure: Any,
    prefix: str = "",
    begun: Beginning | None = None,
) -> tuple[pl.Trainer, MetricsFile, Checkpoints]:
    """The configured Trainer, the file of all its rows, and the callback that keeps the training on disk.

    selected: the metric that decides which weights are best. measure: makes an EvaluationResult of the weights as they
    are; prefix: in front of its metrics in the log. begun: what to go on from.
    Raises UserError for a device that is not there.
    """
    log = MetricsFile(folder / "metrics.jsonl")
    loggers = [log]
    if config["logger"] and is_first():
        loggers.append(instantiate(config["logger"], _convert_="all", save_dir=str(folder)))
        loggers[-1].log_hyperparams({**config, "stand_in": list(stand_in(config))})
    begun = begun or Beginning(KeptCheckpoints(folder), config)
    make_checkpoints = instantiate(config["checkpoint"], _partial_=True, _convert_="all")
    checkpoint: Checkpoints = make_checkpoints(begun.kept, log, state=begun.state)
    callbacks: list[pl.Callback] = [EpochEvaluation(measure, selected, show_epoch, prefix), checkpoint, SpikeNotes(log)]
    if (trial := read_trial(folder)) and not launched():  # of several processes none could tell why it ended
        callbacks.append(Pruning(trial.report, selected))
    # The bar and the interval are ours: the module logs by updates, Lightning would count micro-batches.
    ours = ("enable_progress_bar", "log_every_n_steps")
    options = {key: value for key, value in config["trainer"].items() if key not in ours} | trainer_options()
    if config["trainer"].get("enable_progress_bar", True):
        callbacks.insert(0, TrainingProgress())  # so that its bar is gone when the evaluation shows its own
    make = partial(
        instantiate,
        options,
        _convert_="all",
        logger=loggers,
        callbacks=callbacks,
        max_steps=plan.updates,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        default_root_dir=str(folder),
    )
    with closed_if_failed(loggers):
        try:
            return make(), log, checkpoint
        except InstantiationException as error:  # Lightning refuses a device that is not there
            raise UserError(f"trainer: {error.__cause__ or error}") from error


@contextmanager
def closed_if_failed(loggers: Sequence[Logger]) -> Iterator[None]:
    """Whatever ends a run early closes its trackers as failed: the next job of a sweep must not write into them."""
    try:
        yield
    except BaseException:
        for logger in loggers:
            logger.finalize("failed")
        raise


def fit(trainer: pl.Trainer, module: EmbeddingModule, data: PairsModule) -> None:
    """Train; Ctrl-C is a KeyboardInterrupt."""
    try:
        trainer.fit(module, data)
    except SystemExit:
        # Lightning ends the process with 1 on Ctrl-C; the command line knows better (130).
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
