"""Look at the data, and change nothing: what every training begins with, on its own."""

from __future__ import annotations

from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.report import files
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.doctor import show_diagnosis, write_diagnosis
from matryoshka.tasks.data_lines import show_read_as
from matryoshka.tasks.loading import load
from matryoshka.tasks.quiet_libraries import quiet_libraries


def doctor(recipe: TrainingRecipe, folder: Path) -> float:
    """Examine the recipe's data, print everything, write it into the folder; returns the number of warnings."""
    quiet_libraries()
    data = load(recipe)
    diagnosis = data.examine(recipe.doctor)
    show_read_as(recipe, data.split)
    files.write_config(folder, recipe.config)
    show_diagnosis(diagnosis, brief=False)
    lines.show_paths({**write_diagnosis(folder, diagnosis), "configuration": folder / "config.yaml"})
    return float(len(diagnosis.warnings))
