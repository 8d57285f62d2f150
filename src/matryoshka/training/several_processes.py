"""A training in several processes, which torchrun, srun or this project's command line has started."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy

from matryoshka.processes.ending import ended_where_stuck
from matryoshka.processes.launched import launched
from matryoshka.processes.together import ElsewhereError, broadcast_state, leave, rank
from matryoshka.processes.waiting import PATIENCE

# What GPUs exchange: where another process has died, nothing else ends the wait. The others wait so long at most for
# what the first does alone outside of `from_first`.
ON_GPUS = timedelta(minutes=15)
STUCK = timedelta(minutes=1)  # without a sign of going on, after a signal: then a process on a GPU ends


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


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """The processes that torchrun, srun or the command line has started can talk; nothing for one that runs alone.

    device: of this process.
    """
    place = launched()
    if place is None:
        yield
        return
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    if "OMP_NUM_THREADS" not in os.environ:  # on a GPU's host as well: each process prepares batches and searches
        threads = max(1, torch.get_num_threads() // place.processes_here)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # else Lightning sets another number later
    if "MASTER_ADDR" not in os.environ:  # srun names no place to meet; Lightning derives one from its variables
        slurm = SLURMEnvironment()
        os.environ.update(MASTER_ADDR=slurm.main_address, MASTER_PORT=str(slurm.main_port))
    backend, patience = ("cpu:gloo,cuda:nccl", ON_GPUS) if on_gpu else ("gloo", PATIENCE)
    dist.init_process_group(backend, rank=place.rank, world_size=place.processes, timeout=patience)
    try:
        with ended_where_stuck(STUCK) if on_gpu else nullcontext():
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
    """Arguments of Lightning's Trainer that replace the configured devices and strategy."""
    place, options = launched(), dict[str, Any]()
    if SLURMEnvironment.detect() and "RANK" not in os.environ:  # its requeue would go on from less than a run needs
        options["plugins"] = [SLURMEnvironment(auto_requeue=False)]
    if place is None:
        return {**options, "strategy": "auto"}
    machines = place.processes // place.processes_here
    return {**options, "devices": place.processes_here, "num_nodes": machines, "strategy": SharedBatches()}
