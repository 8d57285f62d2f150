"""What every task that works on a device begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from matryoshka.config.recipe import TrainingRecipe, rebuilt
from matryoshka.processes.together import from_first
from matryoshka.tasks.quiet_libraries import quiet_libraries
from matryoshka.training.device import device_of, prepare
from matryoshka.training.precision import choose_precision
from matryoshka.training.several_processes import joined

Config = Mapping[str, Any]


@contextmanager
def begun(recipe: TrainingRecipe, folder: Path) -> Iterator[tuple[torch.device, Path]]:
    """Prepare the device and join the other processes; inside, the device, and the folder of the first process."""
    prepare(device := device_of(recipe.accelerator, recipe.devices))
    with joined(device):
        quiet_libraries()
        yield device, from_first(lambda: folder)


def decided(recipe: TrainingRecipe, config: Config, before: Config | None = None) -> tuple[TrainingRecipe, str]:
    """The recipe of these values with its precision decided, and why it was decided so. before: see with_precision.

    One process decides, since it measures. The seed comes first: parts may draw their weights by it.
    """
    config, why = from_first(lambda: with_precision(config, before))
    pl.seed_everything(recipe.seed, verbose=False)
    return rebuilt(recipe, config), why


def with_precision(config: Config, before: Config | None = None) -> tuple[dict[str, Any], str]:
    """The configuration with `auto` precision decided, and why it was decided so. before: of a run that goes on."""
    trainer = dict(config["trainer"])
    reason = "as configured"
    if trainer.get("precision") == "auto" and before is not None:
        trainer["precision"], reason = before["trainer"]["precision"], "as this run began"
    elif trainer.get("precision") == "auto":
        choice = choose_precision(device_of(trainer.get("accelerator", "auto"), trainer.get("devices", 1)))
        trainer["precision"], reason = choice.precision, choice.reason
    return {**config, "trainer": trainer}, reason
