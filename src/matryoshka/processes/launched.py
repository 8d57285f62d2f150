"""Which of a run's processes this one is, as torchrun or srun says. Nothing slow is imported here."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ON_GPUS = ("auto", "gpu", "cuda")  # accelerators that take the GPUs there are
INTERACTIVE = ("bash", "interactive")  # SLURM's names for a shell in which commands are typed, as Lightning knows them


@dataclass(frozen=True)
class ProcessInfo:
    """A process among those of a run. rank: its number among all; local_rank: among those of its machine."""

    rank: int
    processes: int
    local_rank: int
    processes_here: int


def launched() -> ProcessInfo | None:
    """The place that torchrun or srun gave to this process; None for a process that runs alone."""
    said = os.environ
    if "RANK" in said and "WORLD_SIZE" in said:
        here = said.get("LOCAL_WORLD_SIZE", said["WORLD_SIZE"])
        place = ProcessInfo(
            int(said["RANK"]), int(said["WORLD_SIZE"]), int(said.get("LOCAL_RANK", said["RANK"])), int(here)
        )
    elif "SLURM_STEP_ID" in said and said.get("SLURM_JOB_NAME") not in INTERACTIVE:  # a batch script is in no step
        processes = int(said.get("SLURM_NTASKS", "1"))
        here = said.get("SLURM_NTASKS_PER_NODE") or str(processes // int(said.get("SLURM_NNODES", "1")))
        place = ProcessInfo(int(said["SLURM_PROCID"]), processes, int(said.get("SLURM_LOCALID", "0")), int(here))
    else:
        return None
    return place if place.processes > 1 else None


def named_devices(chosen: Any) -> list[int] | None:
    """The numbers of the devices that trainer.devices names, as in [1] or "1,"; None where it says how many."""
    if isinstance(chosen, str) and chosen.endswith(",") and chosen[:-1].isdecimal():
        return [int(chosen[:-1])]
    return chosen if isinstance(chosen, list) else None


def devices_here(trainer: Mapping[str, Any], count_gpus: Callable[[], int]) -> int:
    """How many devices of this machine are configured; auto: every GPU, or the one processor.

    count_gpus: how many can be seen; asked only where it matters.
    """
    chosen = trainer.get("devices", 1)
    if (named := named_devices(chosen)) is not None:
        return len(named)
    if chosen != "auto":
        return int(chosen)
    return max(1, count_gpus()) if trainer.get("accelerator", "auto") in ON_GPUS else 1


def processes_of(trainer: Mapping[str, Any], count_gpus: Callable[[], int]) -> int:
    """How many processes a run has, those of other machines too: as many as were started, else as devices here."""
    place = launched()
    return place.processes if place else devices_here(trainer, count_gpus)


def speaks() -> bool:
    """Whether this is the process that tells the user what all of them have to say."""
    place = launched()
    return place is None or place.rank == 0


def silence() -> None:
    """Let this process print nothing but errors: the first one speaks for all."""
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
