"""Several processes for one training: started here, or by torchrun or srun."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from omegaconf import DictConfig
from pytorch_lightning.strategies import DDPStrategy

from matryoshka import errors
from matryoshka.errors import DiskFullError, StoppedError, UserError
from matryoshka.processes.launched import devices_here, launched, silence
from matryoshka.processes.together import ElsewhereError, broadcast_state, leave, rank
from matryoshka.storage.credentials import keep_out_of_logs
from matryoshka.tasks.signals import signals_as_before, stop_at_signals

Config = Mapping[str, Any]
PATIENCE = timedelta(days=1)  # the others wait while the first measures; one that dies is noticed at once
SAVING = timedelta(minutes=10)  # that processes have to end an update and to save, once they were told to stop


class SharedBatches(DDPStrategy):
    """Lightning's DDP without the wrapper that averages gradients at every backward: the module sums them itself.

    Every process has its own dropout, and SIGTERM means what it meant before. Lightning asks all processes for it at
    every micro-batch, for which a GPU is waited for, and its handler waits for the others in the midst of their work.
    """

    def configure_ddp(self) -> None:
        """Begin with the first process's weights."""
        assert self.model is not None
        broadcast_state(self.model)
        torch.manual_seed(torch.initial_seed() + rank())
        self.on_sigterm = signal.getsignal(signal.SIGTERM)  # Lightning sets its own after this, before the training

    def on_train_start(self) -> None:
        """Take Lightning's word about SIGTERM from it."""
        assert self.lightning_module is not None
        signal.signal(signal.SIGTERM, self.on_sigterm)
        self.lightning_module.trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def processes_to_start(trainer: Config) -> int:
    """How many processes are to be started for the configured devices: 1 where they have been started already."""
    return 1 if launched() else devices_here(trainer, torch.cuda.device_count)


def processes_of(trainer: Config) -> int:
    """How many processes the run has, those of other machines too."""
    place = launched()
    return place.processes if place else devices_here(trainer, torch.cuda.device_count)


def start_processes(task: str, count: int, config: Config, folder: Path) -> float:
    """Run matryoshka.tasks.<task> in so many new processes of this machine; returns the first one's result.

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
            results = elastic_launch(launch, _process)(task, dict(config), folder, logging_as_here)
    except ChildFailedError as error:
        raise _first_failure(error) from None
    value: float = results[0]
    return value


def _process(task: str, config: Config, folder: Path, logging_as_here: DictConfig | None) -> float:
    place = launched()
    assert place is not None
    keep_out_of_logs()
    stop_at_signals()
    if place.rank:
        silence()
    elif logging_as_here is not None:
        configure_log(logging_as_here)
    try:
        value: float = getattr(import_module(f"matryoshka.tasks.{task}"), task)(config, folder)
    except StoppedError as stop:
        sys.exit(128 + stop.number)  # the process that started this one says what there is to say
    return value


def _first_failure(error: Any) -> Exception:
    """What the process says that failed by itself, not since another one did."""
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


@contextmanager
def joined(trainer: Config) -> Iterator[None]:
    """The processes that torchrun, srun or `start_processes` has started can talk; nothing for one that runs alone."""
    place = launched()
    if place is None:
        yield
        return
    on_gpu = trainer.get("accelerator", "auto") != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(place.local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, torch.get_num_threads() // place.processes_here)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # else Lightning sets another number later
    if "MASTER_ADDR" not in os.environ:  # srun names no place to meet; Lightning derives one from its variables
        slurm = SLURMEnvironment()
        os.environ.update(MASTER_ADDR=slurm.main_address, MASTER_PORT=str(slurm.main_port))
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, rank=place.rank, world_size=place.processes, timeout=PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not _is_of_another(error):
            raise
        sys.stderr.write(f"process {place.rank}: another process has ended ({str(error).splitlines()[0]})\n")
        sys.exit(1)
    leave()


def _is_of_another(error: RuntimeError) -> bool:
    """Whether a process lost another one: what gloo and NCCL raise then is of no kind of its own."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ElsewhereError) or frames[-1].startswith("torch.distributed.")


def trainer_options() -> dict[str, Any]:
    """What Lightning's Trainer is told of devices and strategy in place of the configuration's."""
    place, options = launched(), dict[str, Any]()
    if SLURMEnvironment.detect() and "RANK" not in os.environ:  # its requeue would go on from less than a run needs
        options["plugins"] = [SLURMEnvironment(auto_requeue=False)]
    if place is None:
        return {**options, "strategy": "auto"}
    machines = place.processes // place.processes_here
    strategy = SharedBatches(timeout=PATIENCE)
    return {**options, "devices": place.processes_here, "num_nodes": machines, "strategy": strategy}
