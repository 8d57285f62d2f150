"""Several processes of this machine for one training, started where no torchrun or srun has."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig

from matryoshka import errors
from matryoshka.config.resolvers import cuda_devices
from matryoshka.errors import DiskFullError, StoppedError, UserError
from matryoshka.processes.launched import devices_here, launched, silence
from matryoshka.processes.signals import signals_as_before, stop_at_signals
from matryoshka.storage.credentials import keep_out_of_logs

Config = Mapping[str, Any]
RunTask = Callable[[str, Config, Path], float]
# That processes have to end an update and to save, once a signal has told them to stop. One that is stuck on a GPU ends
# by itself long before (processes/ending.py); where a process has failed, torch gives the others half a minute.
SAVING = timedelta(minutes=10)


def in_processes(run_task: RunTask, task: str, config: Config, folder: Path) -> float:
    """Run the task, a training in as many processes as it has devices here; alone where they have been started."""
    if task == "train" and not launched() and (count := devices_here(config["trainer"], cuda_devices)) > 1:
        return start_processes(run_task, task, count, config, folder)
    return run_task(task, config, folder)


def start_processes(run_task: RunTask, task: str, count: int, config: Config, folder: Path) -> float:
    """Run the task in so many new processes of this machine; returns the first one's result.

    One that fails ends all. Raises its UserError, or RuntimeError with its traceback.
    """
    # Not at the top: it takes a third of a second.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=round(SAVING.total_seconds()),
    )
    for name in ("elastic.multiprocessing.api", "elastic.agent.server.api", "launcher.api"):
        logging.getLogger(f"torch.distributed.{name}").setLevel(logging.CRITICAL)  # what failed is said below
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.CRITICAL)
    logging_as_here = HydraConfig.get().job_logging if HydraConfig.initialized() else None
    try:
        with signals_as_before():
            results = elastic_launch(launch, _process)(run_task, task, dict(config), folder, logging_as_here)
    except ChildFailedError as error:
        raise _first_failure(error) from None
    value: float = results[0]
    return value


def _process(run_task: RunTask, task: str, config: Config, folder: Path, logging_as_here: DictConfig | None) -> float:
    place = launched()
    assert place is not None
    keep_out_of_logs()
    stop_at_signals()
    if place.rank:
        silence()
    elif logging_as_here is not None:
        configure_log(logging_as_here)
    try:
        return run_task(task, config, folder)
    except StoppedError as stop:
        sys.exit(128 + stop.number)  # the process that started this one says what there is to say


def _first_failure(error: Any) -> Exception:
    """The error of the process that failed first, not of those that it ended."""
    for number, failure in error.failures.items():
        if isinstance(said := failure.error_file_data["message"], dict):
            kind, _, message = said["message"].partition(": ")
            if issubclass(getattr(errors, kind, Exception), UserError):
                return UserError(message)
            if kind == DiskFullError.__name__:
                return DiskFullError(message)
            failed = RuntimeError(f"process {number}: {said['message']}")
            failed.add_note(said["extraInfo"]["py_callstack"])
            return failed
    number, failure = error.get_first_failure()
    return RuntimeError(f"process {number} ended with {failure.exitcode}: {failure.message}")
