"""Train, measure, save: the recipe from a checked configuration to a folder of results."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import ModelCheckpoint

from matryoshka.data.diagnosis import Diagnosis
from matryoshka.distributed.together import broadcast_state, first_then_others, from_first, is_first, leave
from matryoshka.encoder.encoder import Encoder
from matryoshka.memory.available import available
from matryoshka.module import EmbeddingModule
from matryoshka.plan import TrainingPlan
from matryoshka.report import files, terminal
from matryoshka.report.doctor import show_diagnosis
from matryoshka.report.environment import environment
from matryoshka.report.record import EncoderSummary, TrainingRecord
from matryoshka.report.summary import show_training
from matryoshka.retrieval.deployment import Deployment
from matryoshka.retrieval.failures import find_failures
from matryoshka.retrieval.result import EvaluationResult
from matryoshka.tasks.baselines import Before, measure_before
from matryoshka.tasks.loading import Loaded, load
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.processes import joined, processes_to_start, start_processes
from matryoshka.tasks.setup import (
    compact_vocabulary,
    device_of,
    memory_needed,
    nested_dims,
    quiet_libraries,
    stand_in,
    with_precision,
)
from matryoshka.tasks.trainer import closed_if_failed, fit, make_loss, make_module, make_trainer, training_plan

Config = Mapping[str, Any]

OPTIONAL: Config = {
    "logger": None,
    "export": None,
    "pooling": None,
    "dim_weights": None,
    "dims_per_step": None,
    "pairs_at_once": None,
    "reference": {},
    "baselines": [],
    "compact_vocabulary": True,
}


def train(config: Config, folder: Path) -> float:
    """Run the configuration and write everything into the folder, in as many processes as it has devices.

    Returns the selecting metric of the kept weights, on the queries that selected them: a sweep goes by it.
    """
    if (count := processes_to_start(config["trainer"])) > 1:
        return start_processes("train", count, config, folder)
    with joined(config["trainer"]):
        return _train(config, from_first(lambda: folder))


def _train(config: Config, folder: Path) -> float:
    start = time.perf_counter()
    quiet_libraries()
    # One process decides, since it measures.
    config, reason = from_first(lambda: with_precision({**OPTIONAL, **config, **nested_dims(config)}))
    pl.seed_everything(config["seed"], verbose=False)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # tf32, as in the card's run

    room = first_then_others(lambda: load(config))
    if is_first():
        files.write_config(folder, config)  # only now: a mistake in data or model leaves no folder behind
    device = device_of(config["trainer"].get("accelerator", "auto"))
    measuring = Measuring.of(config, room.encoder, config["dims"], config["trainer"]["precision"], device)
    plan = training_plan(config, room.batches)
    diagnosis = from_first(lambda: _announce(config, room, measuring, plan, reason))
    measure = partial(measuring.measure, room.selecting)
    trainer, log, checkpoint = make_trainer(config, folder, plan, measuring.selected, measure, room.prefix)

    with closed_if_failed(trainer.loggers):
        room.encoder.to(trainer.strategy.root_device)
        before = measure_before(config, room, measuring)
        for logger in trainer.loggers:
            logger.log_metrics(before.logged, step=0)
        terminal.show_estimate(before.base, room.selecting, room.pairs, plan, config["batch_size"])
        terminal.say("tokens", compact_vocabulary(config, room.encoder, room.used_tokens))
        module = make_module(config, room.encoder, plan)
        fit(trainer, module, room.batches)

        best = _restore(checkpoint, module)
        room.encoder.to(trainer.strategy.root_device)
        tuned, deployment = measuring.measure(room.test), _deployment(room, measuring)
        if leave():  # what is left is the work of one process
            record = _record(config, room, measuring, before, best, tuned)
            record = replace(record, updates=plan.updates, history=tuple(log.rows))
            record = replace(record, diagnosis=diagnosis, deployment=deployment, seconds=time.perf_counter() - start)
            room.encoder.whole_vocabulary()
            _write(folder, record, room.encoder.cpu(), trainer)
        return best.value


def _announce(config: Config, room: Loaded, measuring: Measuring, plan: TrainingPlan, reason: str) -> Diagnosis:
    """The first lines: what will run, what is wrong with the data, what it needs; returns what the doctor found."""
    diagnosis = room.examine(instantiate(config["doctor"], _convert_="all"))
    terminal.announce(config, room.encoder, room.pairs, room.split, plan, reason, stand_in(config))
    show_diagnosis(diagnosis, brief=True)
    terminal.show_batches(room.batch_summary, room.batches.sampler.mask_clashes)
    needed = memory_needed(config, room, make_loss(config), measuring.evaluator.token_budget)
    terminal.show_memory(needed, available(measuring.device, room.encoder), config)
    return diagnosis


@dataclass(frozen=True)
class _Best:
    """The update whose weights were kept, and the selecting metric's value that made them the best."""

    step: int
    value: float


def _restore(checkpoint: ModelCheckpoint, module: EmbeddingModule) -> _Best:
    """Load the best weights: from the first process's disk, which need not be the others'."""

    def load() -> _Best:
        best = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
        assert checkpoint.best_model_score is not None
        return _Best(int(best["global_step"]), float(checkpoint.best_model_score))

    best = from_first(load)
    broadcast_state(module)
    return best


def _record(
    config: Config, room: Loaded, measuring: Measuring, before: Before, best: _Best, tuned: EvaluationResult
) -> TrainingRecord:
    """What came of it: the restored weights measured on the test queries, beside what was measured before."""
    assert tuned.rankings is not None
    return TrainingRecord(
        name=config["name"],
        base_model=room.encoder.name,
        stand_in=stand_in(config),
        encoder=EncoderSummary.of(room.encoder),
        pairs=room.pairs,
        batches=room.batch_summary,
        base=before.base,
        tuned=tuned,
        selected=measuring.selected,
        selected_value=best.value,
        saved_step=best.step,
        config=config,
        environment=environment(),
        split=room.split.label,
        dev_base=before.dev_base,
        baselines=before.baselines,
        failures=find_failures(tuned.rankings, config["dims"]),
    )


def _deployment(room: Loaded, measuring: Measuring) -> Deployment:
    """What to deploy, chosen on the dev queries where there are some, measured on the test queries."""
    measured = measuring.deployment(room.test, room.passages)
    return measured.chosen_by(measuring.deployment(room.dev, room.passages)) if room.dev else measured


def _write(folder: Path, record: TrainingRecord, encoder: Encoder, trainer: pl.Trainer) -> None:
    exporter = instantiate(record.config["export"], _convert_="all") if record.config["export"] else None
    written = files.write_training(folder, record, encoder, exporter)
    shutil.rmtree(folder / "checkpoints")  # model/ has the same weights; without an export none were wanted
    for logger in trainer.loggers:
        if hasattr(logger, "finish_record"):
            logger.finish_record(record, folder)
    show_training(record, written)
