"""Train a recipe into a folder: load, measure, train, restore, measure, write."""

from __future__ import annotations

from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.tasks.run import Run


def train(recipe: TrainingRecipe, folder: Path) -> float:
    """Train the recipe and write everything into the folder; in a folder that has it begun, go on; done, do nothing.

    Returns the selecting metric of the kept weights, on the queries that selected them: a sweep goes by it.
    """
    with Run(recipe, folder) as run:
        if run.finished is not None:
            return run.finished
        run.load()
        training = run.training()
        before = run.measure_before()
        run.fit(training)
        value = run.restore_best(training, before)
        tuned = run.measure()
        run.write(training, before, tuned)
        return value
