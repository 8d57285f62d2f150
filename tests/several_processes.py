"""A function run by several real processes that talk over gloo, as those of a training do."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing


def in_processes(function: Callable[..., Any], count: int, folder: Path, *args: Any) -> list[Any]:
    """What function(*args) returned in each process. Processes are forked from one that has imported everything."""
    multiprocessing.set_forkserver_preload([function.__module__])
    folder.mkdir()
    torch.multiprocessing.start_processes(  # type: ignore[no-untyped-call]
        _work, (function, count, folder, args), count, start_method="forkserver"
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _work(rank: int, function: Callable[..., Any], count: int, folder: Path, args: tuple[Any, ...]) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=count)
    torch.save(function(*args), folder / f"{rank}.pt")
