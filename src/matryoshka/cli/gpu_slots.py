"""One GPU a process, for the jobs of a sweep that run at once on a machine with several."""

from __future__ import annotations

import getpass
import logging
import os
import tempfile
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.5


class OneGpu(Callback):
    """Shows the process of a job one GPU that no other process has, before CUDA starts in it.

    gpus: their names, as CUDA_VISIBLE_DEVICES takes them.
    """

    def __init__(self, gpus: Iterable[str | int]) -> None:
        self.gpus = tuple(str(gpu) for gpu in gpus)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Take a GPU, unless this process has one from its job before."""
        os.environ["CUDA_VISIBLE_DEVICES"], _lock = take_gpu(self.gpus)


@cache
def take_gpu(gpus: tuple[str, ...]) -> tuple[str, FileLock]:
    """The first of the GPUs that no process of this user holds, and its lock; waits while all are held.

    The process holds it until it ends, since CUDA keeps the devices it started with; killed or not, its end frees it.
    """
    folder = Path(tempfile.gettempdir()) / f"matryoshka-gpus-{getpass.getuser()}"  # of this machine, as GPUs are
    folder.mkdir(exist_ok=True)
    locks = {gpu: FileLock(folder / f"{gpu.replace('/', '_')}.lock") for gpu in gpus}
    waiting = False
    while True:
        for gpu, lock in locks.items():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return gpu, lock
        if not waiting:
            log.info("waiting for one of the GPUs %s", ", ".join(gpus))
            waiting = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
