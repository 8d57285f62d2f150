"""Look at a run before it starts: its updates, rates, evaluations and memory. Nothing is trained."""

from __future__ import annotations

from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe, rebuilt
from matryoshka.memory.limits import MemoryLimits
from matryoshka.report import files
from matryoshka.report.figures.schedule import Schedule
from matryoshka.report.run_plan import Measured, RunPlan, show_plan, write_plan
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.batch_lines import show_batches
from matryoshka.tasks.beginning import with_precision
from matryoshka.tasks.data_lines import show_read_as
from matryoshka.tasks.first_lines import memory_limits
from matryoshka.tasks.loading import TrainingData, load
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.quiet_libraries import quiet_libraries
from matryoshka.tasks.step_choice import StepChoice
from matryoshka.tasks.trainer import training_plan
from matryoshka.tasks.vocabulary import Vocabulary
from matryoshka.training.device import device_of, prepare
from matryoshka.training.flops import of_run
from matryoshka.training.plan import TrainingPlan


def plan(recipe: TrainingRecipe, folder: Path) -> float:
    """Print the recipe's run in numbers and write them, with figures, into the folder; returns its updates."""
    quiet_libraries()
    device = device_of(recipe.accelerator, recipe.devices)
    prepare(device)
    config, reason = with_precision(recipe.config)
    recipe = rebuilt(recipe, config)
    data = load(recipe)
    training = training_plan(recipe, data.batches)
    measuring = Measuring.of(recipe, data.encoder, recipe.dims, recipe.precision, device)
    limits = memory_limits(recipe, data, measuring, Vocabulary.of(recipe, data))
    step = StepChoice.of(recipe, limits, training, None)
    recipe, limits = step.chosen(recipe), step.limits(limits)
    lines.announce(recipe, data.encoder, data.pairs, data.split, training, reason)
    show_batches(data.batch_summary, data.masked)
    show_read_as(recipe, data.split)
    planned = run_plan(recipe, data, training, limits)
    lines.show_memory(planned.memory, planned.available, recipe)
    step.show()
    files.write_config(folder, recipe.config)
    show_plan(planned)
    lines.show_paths({**write_plan(folder, planned), "configuration": folder / "config.yaml"})
    return float(training.updates)


def run_plan(recipe: TrainingRecipe, data: TrainingData, training: TrainingPlan, limits: MemoryLimits) -> RunPlan:
    """All of what the run will do; the encoder encodes a few tokens, to know its memory and its operations."""
    assert limits.memory is not None
    return RunPlan(
        name=recipe.name,
        stand_in=recipe.stand_in,
        pairs=data.pairs.rows,
        batch_size=recipe.batch_size,
        training=training,
        schedule=schedule(recipe, training),
        selected=recipe.evaluator.selected(recipe.dims),
        after_epochs=Measured.of(data.selecting),
        at_ends=Measured.of(data.test),
        memory=limits.needed(),
        available=limits.available,
        weights=sum(p.numel() * p.element_size() for p in data.encoder.parameters()),
        saved=recipe.export is not None,
        blended=recipe.blend is not None,
        operations=of_run(data.encoder, limits.memory.batches, training.updates * training.accumulation),
    )


def schedule(recipe: TrainingRecipe, training: TrainingPlan) -> Schedule:
    """The recipe's schedule over the updates of the run."""
    name = recipe.config["scheduler"]["_target_"].rpartition(".")[2]
    updates, ends = training.updates, frozenset(training.epoch_ends)
    return Schedule.planned(name, recipe.optimizer, recipe.scheduler, updates, ends)
