"""Look at a run before it starts: its updates, rates, evaluations and memory. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from matryoshka.memory.available import available
from matryoshka.memory.estimate import MemorySettings
from matryoshka.report import files
from matryoshka.report.figures.schedule import Schedule
from matryoshka.report.run_plan import Measured, RunPlan, show_plan, write_plan
from matryoshka.report.terminal import lines
from matryoshka.tasks.loading import Loaded, load
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.setup import device_of, nested_dims, quiet_libraries, run_memory, stand_in, with_precision
from matryoshka.tasks.train import OPTIONAL
from matryoshka.tasks.trainer import make_loss, training_plan
from matryoshka.training.plan import TrainingPlan

Config = Mapping[str, Any]


def plan(config: Config, folder: Path) -> float:
    """Print the configured run in numbers and write them, with figures, into the folder; returns its updates."""
    quiet_libraries()
    config, reason = with_precision({**OPTIONAL, **config, **nested_dims(config)})
    room = load(config)
    training = training_plan(config, room.batches)
    lines.announce(config, room.encoder, room.pairs, room.split, training, reason, stand_in(config))
    lines.show_batches(room.batch_summary, room.batches.sampler.mask_clashes)
    planned = run_plan(config, room, training)
    lines.show_memory(planned.memory, planned.available, config)
    files.write_config(folder, config)
    show_plan(planned)
    lines.show_paths({**write_plan(folder, planned), "configuration": folder / "config.yaml"})
    return float(training.updates)


def run_plan(config: Config, room: Loaded, training: TrainingPlan) -> RunPlan:
    """All of what the run will do; the encoder encodes a few tokens, to know its memory."""
    device = device_of(config["trainer"].get("accelerator", "auto"))
    measuring = Measuring.of(config, room.encoder, config["dims"], config["trainer"]["precision"], device)
    return RunPlan(
        name=config["name"],
        stand_in=stand_in(config),
        pairs=room.pairs.rows,
        batch_size=config["batch_size"],
        training=training,
        schedule=schedule(config, training),
        selected=measuring.selected,
        after_epochs=Measured.of(room.selecting),
        at_ends=Measured.of(room.test),
        memory=run_memory(config, room, make_loss(config)).estimate(
            MemorySettings(config["pairs_at_once"], token_budget=measuring.evaluator.token_budget)
        ),
        available=available(device, room.encoder),
        weights=sum(p.numel() * p.element_size() for p in room.encoder.parameters()),
        saved=bool(config["export"]),
    )


def schedule(config: Config, training: TrainingPlan) -> Schedule:
    """The configured schedule over the updates of the run."""
    make_optimizer, make_scheduler = (instantiate(config[key], _convert_="all") for key in ("optimizer", "scheduler"))
    name = config["scheduler"]["_target_"].rpartition(".")[2]
    return Schedule.planned(name, make_optimizer, make_scheduler, training.updates, frozenset(training.epoch_ends))
