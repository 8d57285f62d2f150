"""One job: a composed configuration to a recipe, to a task, alone or in a sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from matryoshka.cli.exit_codes import job_told
from matryoshka.cli.resuming import only_one_there, remove_if_unused, run_folder
from matryoshka.cli.start_processes import in_processes
from matryoshka.cli.sweep_job import in_a_sweep
from matryoshka.cli.task_choice import plain_values, program, task_of
from matryoshka.config.recipe import RECIPES, build
from matryoshka.config.resolvers import register_resolvers
from matryoshka.config.secrets import mask_written
from matryoshka.processes.signals import stopped_by_signals
from matryoshka.storage.credentials import keep_out_of_logs

register_resolvers()  # here, since a launcher's own process imports only this before it resolves a configuration
keep_out_of_logs()

log = logging.getLogger("matryoshka")


def run(config: DictConfig) -> float:
    """Check the configuration and run its task into Hydra's output folder; ends the process where that failed.

    A job of a sweep ends nothing: what became of it stands in its folder's status.json.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    mask_written(folder)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return in_a_sweep(folder, lambda: plain_values(config, program()), start)
    with job_told(folder), stopped_by_signals():
        plain = plain_values(config, program())
        task = task_of(plain, program())
        folder = run_folder(task, plain.get("resume"), folder)
        with job_told(folder), only_one_there(task, folder):
            value = start(plain, folder)
        remove_if_unused(folder)  # as after a question, whose answer is only shown
        return value


def start(plain: Mapping[str, Any], folder: Path) -> float:
    """Run the task that a checked configuration asks for, in as many processes as it has devices."""
    log.info("results go to %s", folder)  # at once: loading what follows takes seconds
    return in_processes(run_task, task_of(plain, program()), plain, folder)


def run_task(name: str, plain: Mapping[str, Any], folder: Path) -> float:
    """Build the recipe and run matryoshka.tasks.<name>, in this process."""
    task: Callable[..., float] = getattr(import_module(f"matryoshka.tasks.{name}"), name)
    return task(build(plain, RECIPES[name]), folder)
