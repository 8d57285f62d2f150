"""Train, measure, save: the recipe from a checked configuration to a folder of results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from matryoshka.data.doctor.diagnosis import Diagnosis
from matryoshka.memory.available import available
from matryoshka.memory.estimate import MemorySettings
from matryoshka.memory.limits import MemoryLimits, shortage_explained
from matryoshka.memory.peak import peak_memory
from matryoshka.processes.together import first_then_others, from_first, is_first, leave
from matryoshka.report import files
from matryoshka.report.environment.environment import write_environment
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.doctor import show_diagnosis
from matryoshka.tasks.baselines import measure_before
from matryoshka.tasks.beginning import Beginning
from matryoshka.tasks.finishing import restore_best, training_record, what_to_deploy, write
from matryoshka.tasks.loading import Loaded, load
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.not_finite import step_kept
from matryoshka.tasks.pinning import pinned
from matryoshka.tasks.processes import joined, processes_to_start, start_processes
from matryoshka.tasks.setup import (
    compact_vocabulary,
    device_of,
    nested_dims,
    quiet_libraries,
    run_memory,
    stand_in,
    with_precision,
)
from matryoshka.tasks.trainer import closed_if_failed, fit, make_loss, make_module, make_trainer, training_plan
from matryoshka.training.checkpoints.disk import bytes_on_disk, require_room
from matryoshka.training.plan import TrainingPlan

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
    "not_finite": "stop",
    "skipped_at_most": 10,
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
    config = {**OPTIONAL, **config, **nested_dims(config)}
    begun = from_first(lambda: Beginning.of(config, folder))
    if begun.finished is not None:
        return begun.finished
    config, reason = from_first(lambda: with_precision(begun.config, begun.precision))
    pl.seed_everything(config["seed"], verbose=False)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # tf32, as in the card's run

    room = first_then_others(lambda: load(config))
    config = from_first(partial(pinned, config, room.encoder, room.data_commit))
    device = device_of(config["trainer"].get("accelerator", "auto"))
    measuring = Measuring.of(config, room.encoder, config["dims"], config["trainer"]["precision"], device)
    plan = training_plan(config, room.batches)
    limits = _memory(config, room, measuring)
    diagnosis = from_first(lambda: _announce(config, folder, room, limits, plan, reason))
    if is_first():
        files.write_config(folder, config)  # only now: a mistake in data or model leaves no folder behind
        write_environment(folder)
    measure = partial(measuring.measure, room.selecting)
    begun = from_first(lambda: begun.at_checkpoint(config))
    trainer, log, checkpoint = make_trainer(config, folder, plan, measuring.selected, measure, room.prefix, begun)

    with closed_if_failed(trainer.loggers), shortage_explained(limits):
        room.encoder.to(trainer.strategy.root_device)
        before = measure_before(config, room, measuring)
        for logger in trainer.loggers if begun.state is None else ():
            logger.log_metrics(before.logged, step=0)
        lines.show_estimate(before.base, room.selecting, room.pairs, plan, config["batch_size"])
        lines.say("tokens", compact_vocabulary(config, room.encoder, room.used_tokens))
        module = make_module(config, room.encoder, plan)
        begun.restore(module, trainer.loggers)
        if not begun.is_trained(plan):
            with step_kept(config, room, folder):
                fit(trainer, module, room.batches)

        best = restore_best(checkpoint, module.encoder)
        room.encoder.to(trainer.strategy.root_device)
        tuned, deployment = measuring.measure(room.test), what_to_deploy(room, measuring)
        if leave():  # what is left is the work of one process
            record = training_record(config, room, measuring, before, best, tuned)
            record = replace(record, updates=plan.updates, history=tuple(log.rows), skipped=module.finite.skipped)
            record = replace(record, diagnosis=diagnosis, deployment=deployment, seconds=time.perf_counter() - start)
            room.encoder.whole_vocabulary()
            write(folder, record, room.encoder.cpu(), trainer)
        return best.value


def _memory(config: Config, room: Loaded, measuring: Measuring) -> MemoryLimits:
    """What the run needs, and what there is before it starts."""
    budget, longest = measuring.evaluator.token_budget, room.encoder.max_seq_length
    settings = MemorySettings(config["pairs_at_once"], config["batch_size"], longest, budget)
    memory, device = run_memory(config, room, make_loss(config)), measuring.device
    there_is, to_disk = available(device, room.encoder), measuring.may_go_to_disk
    return MemoryLimits(settings, device, memory, there_is, peak_memory(device), to_disk)


def _announce(
    config: Config, folder: Path, room: Loaded, limits: MemoryLimits, plan: TrainingPlan, reason: str
) -> Diagnosis:
    """The first lines: what will run, what is wrong with the data, what it needs; returns what the doctor found."""
    diagnosis = room.examine(instantiate(config["doctor"], _convert_="all"))
    lines.announce(config, room.encoder, room.pairs, room.split, plan, reason, stand_in(config))
    show_diagnosis(diagnosis, brief=True)
    lines.show_batches(room.batch_summary, room.batches.sampler.mask_clashes)
    needed = limits.needed()
    lines.show_memory(needed, limits.available, config)
    whole = sum(p.numel() * p.element_size() for p in room.encoder.parameters()) if config["export"] else 0
    lines.say("disk", require_room(folder, *bytes_on_disk(needed.gradients, needed.optimizer, whole)))
    return diagnosis
