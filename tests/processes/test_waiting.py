"""How long processes wait for each other: hours for what the first does alone, minutes for what GPUs exchange."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.memory.estimate import measure_memory
from matryoshka.memory.measured import EncoderMemory
from matryoshka.processes.together import add_up, from_all, from_first, rank
from matryoshka.training import several_processes
from matryoshka.training.several_processes import joined
from tests.several_processes import in_processes
from tests.tiny import tiny_encoder

SHORT, LONGER = timedelta(seconds=2), 4.0


def joined_as_on(device: str, folder: Path, work: Any) -> tuple[Any, str, int | None]:
    """What `work` gives within `joined` on such a device, over gloo; the backend asked for; the threads set."""
    dist.destroy_process_group()
    real, backends, threads = dist.init_process_group, [], [None]

    def over_gloo(backend: str, **options: Any) -> None:
        backends.append(backend)
        real("gloo", init_method=f"file://{folder / 'again'}", **options)

    with (
        patch.object(several_processes, "ON_GPUS", SHORT),
        patch.object(dist, "init_process_group", over_gloo),
        patch.object(torch.cuda, "is_available", return_value=True),
        patch.object(torch, "get_num_threads", return_value=8),
        patch.object(torch, "set_num_threads", threads.append),
        patch.dict("os.environ", MASTER_ADDR="localhost"),
    ):
        os.environ.pop("OMP_NUM_THREADS", None)
        with joined(torch.device(device)):
            found = work()
    return found, backends[0], threads[-1]


def waited() -> tuple[list[str], str]:
    """What comes of the first process's long work: through `from_first`, on the host, and in an exchange of GPUs."""

    def work() -> str:
        time.sleep(LONGER)
        return "measured"

    arrived = [from_first(work), *from_all("mine" if rank() else work())]
    if rank() == 0:
        time.sleep(LONGER)
    arrived.append(str(int(add_up(torch.ones(1)))))
    if rank() == 0:
        time.sleep(LONGER)
        return arrived, "late"
    try:
        dist.all_reduce(torch.ones(1))  # by the group of the devices, as for a tensor on a GPU
    except RuntimeError as error:
        return arrived, str(error).partition("\n")[0]
    return arrived, "arrived"


def test_what_the_first_does_alone_may_take_long_and_an_exchange_of_gpus_may_not(tmp_path: Path) -> None:
    work = in_processes(joined_as_on, 2, tmp_path / "run", "cuda", tmp_path, waited)
    (first, backend, threads), (second, _, its_threads) = work
    assert backend == "cpu:gloo,cuda:nccl"
    assert first[0] == second[0] == ["measured", "measured", "mine", "2"]
    assert first[1] == "late" and "imed out" in second[1]
    assert threads == its_threads == 4  # half of the machine's: of a GPU's processes as well


def waited_on_a_cpu() -> str:
    if rank() == 0:
        time.sleep(LONGER)
    ones = torch.ones(1)
    dist.all_reduce(ones)  # by the group of the devices
    return str(int(ones))


def test_on_a_cpu_any_exchange_may_take_long(tmp_path: Path) -> None:
    """There a process that dies is noticed at once, and one that is slow is only slow."""
    found = in_processes(joined_as_on, 2, tmp_path / "run", "cpu", tmp_path, waited_on_a_cpu)
    assert found == [("2", "gloo", 4)] * 2


def died() -> str:
    """The second process ends in the midst of the work; what the first one hears of it, and after how long."""
    from_all(rank())
    if rank() == 1:
        return "left"
    began = time.monotonic()
    try:
        from_all("alone")
    except RuntimeError:
        return "noticed" if time.monotonic() - began < 20 else "late"
    return "never"


def test_a_process_that_has_died_is_noticed_at_once_where_the_others_wait_long(tmp_path: Path) -> None:
    assert in_processes(died, 2, tmp_path / "run") == ["noticed", "left"]


def measured() -> tuple[int, Any]:
    """How often this process has measured the memory of encoding, and what it knows of it."""
    with patch.object(EncoderMemory, "measured", wraps=EncoderMemory.measured) as counted:
        memory = measure_memory(
            tiny_encoder(dropout=0.1),
            MatryoshkaLoss(RankingLoss(), [32]),
            partial(torch.optim.AdamW, fused=True),
            [[[16] * 8, [24] * 8]],
            texts=10,
            device=torch.device("cpu"),
            processes=2,
        )
    return counted.call_count, memory.measured


def test_the_first_process_measures_memory_for_all(tmp_path: Path) -> None:
    (times, first), (other_times, second) = in_processes(measured, 2, tmp_path / "run")
    assert (times, other_times) == (1, 0)
    assert first == second and first.forward.per_token > 0
