"""Mix the weights of several finished runs, or of one and its start: read, measure, choose, write. No training."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.processes.together import from_first, is_first, leave
from matryoshka.report import files
from matryoshka.report.environment.environment import write_environment
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.summary import show_training
from matryoshka.tasks.baselines import Before, measure_before, measure_sets
from matryoshka.tasks.beginning import begun, decided
from matryoshka.tasks.first_lines import announce_frozen
from matryoshka.tasks.hub_commits import loaded
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.mixing import Mixing
from matryoshka.tasks.outcome import training_record, what_to_deploy
from matryoshka.tasks.pushing import push_model
from matryoshka.tasks.sources import sources_of
from matryoshka.tasks.start_point import StartPoint
from matryoshka.tasks.trainer import closed_if_failed, finish, make_loggers
from matryoshka.training.checkpoints.kept import Best
from matryoshka.training.mixes import MixOutcome


def blend(recipe: TrainingRecipe, folder: Path) -> float:
    """Mix the recipe's runs and write everything into the folder; in a folder where that is done, do nothing.

    Returns the selecting metric of the kept weights, on the queries that selected them: a sweep goes by it.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        device, folder = stack.enter_context(begun(recipe, folder))
        start = from_first(lambda: StartPoint.of(recipe.config, folder))
        if start.finished is not None:
            return start.finished
        recipe, why = decided(recipe, start.config)
        recipe, data = read(recipe, why)
        with sources_of(recipe, data.encoder, folder) as sources:
            lines.say("runs", ", ".join(sources.names))
            if is_first():  # only now: a mistake in what is mixed leaves no folder behind
                files.write_config(folder, recipe.config)
                write_environment(folder)
            loggers = make_loggers(recipe, folder)
            stack.enter_context(closed_if_failed(loggers))
            encoder = data.encoder.to(device)
            measuring = Measuring.of(recipe, encoder, recipe.dims, recipe.precision, device)
            before = measure_before(recipe, data, measuring, lambda: None)
            measuring, outcome = Mixing(recipe, data, measuring, before, sources).keep_best()
        record = record_of(recipe, data, measuring, before, outcome)
        if leave():
            for logger in loggers:
                logger.log_metrics(before.logged, step=0)
            record = replace(record, seconds=time.perf_counter() - began)
            write(folder, recipe, record, data)
            finish(loggers, record, folder)
        return outcome.kept.value


def read(recipe: TrainingRecipe, why_precision: str) -> tuple[TrainingRecipe, TrainingData]:
    """The data and the untrained encoder; the recipe with the commits that were read."""
    recipe, data = loaded(recipe)
    from_first(partial(announce_frozen, recipe, data, why_precision, "none: weights are mixed"))
    return recipe, data


def record_of(
    recipe: TrainingRecipe, data: TrainingData, measuring: Measuring, before: Before, outcome: MixOutcome
) -> TrainingRecord:
    """The kept weights on the test queries and the further sets, each measured once."""
    tuned = measuring.measure(data.test)
    deployment = what_to_deploy(data, measuring)
    sets = measure_sets(data.sets, measuring)
    best = Best(0, outcome.kept.value)
    record = training_record(recipe, data, measuring, before, best, tuned, sets)
    return replace(record, mixed=outcome, deployment=deployment)


def write(folder: Path, recipe: TrainingRecipe, record: TrainingRecord, data: TrainingData) -> None:
    """Every file, and the table at the end."""
    show_training(record, files.write_training(folder, record, data.encoder.cpu(), recipe.export))
    push_model(recipe, folder)
