"""The last thing that a task does, where it was asked for: its model goes to the hub."""

from __future__ import annotations

from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.export.push import push
from matryoshka.report.terminal import lines


def push_model(recipe: TrainingRecipe, folder: Path) -> None:
    """Push the model of a run that is done. Raises NotPushedError, which leaves the run done."""
    name, model = getattr(recipe.export, "push_to_hub", None), folder / "model"
    if name and model.is_dir():
        lines.say("hub", f"pushed as {push(model, name, private=getattr(recipe.export, 'private', True))}")
