"""How many processes a training has, and what does not go with several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matryoshka.config.resolvers import cuda_devices
from matryoshka.processes.launched import ON_GPUS, devices_here, launched

STRATEGIES = ("auto", "ddp")


def process_problems(trainer: Mapping[str, Any], batch_size: int | None) -> Iterator[tuple[str, str]]:
    """Devices that cannot be used, or not together; batch_size: None where it is known to be wrong."""
    devices, place = trainer.get("devices", 1), launched()
    if isinstance(devices, list) and len(devices) > 1:
        several = f"use trainer.devices={len(devices)}, and CUDA_VISIBLE_DEVICES for which of them"
        yield "trainer.devices", f"{devices} names devices; {several}"
        return
    if devices != "auto" and not isinstance(devices, list) and not str(devices).isdecimal():
        yield "trainer.devices", f"{devices} is no number of devices; use 1, 2, ... or auto"
        return
    count = devices_here(trainer, cuda_devices)
    if count < 1:
        yield "trainer.devices", f"{devices} is not at least 1"
    if place and devices != "auto" and count != place.processes_here:
        started = f"{place.processes_here} processes were started on this machine"
        yield "trainer.devices", f"{devices}, but {started}; use trainer=ddp trainer.devices=auto"
    if not place and (trainer.get("num_nodes") or 1) > 1:
        yield "trainer.num_nodes", "several machines need torchrun or srun on each of them, see docs/several_devices.md"
    here, gpus = place.processes_here if place else count, _gpus(trainer)
    if here > gpus > 0:
        remedy = f"use trainer.devices={gpus}, or trainer.accelerator=cpu"
        yield "trainer.devices", f"{here} processes need a GPU each, and {gpus} can be seen here; {remedy}"
    processes = place.processes if place else count
    if trainer.get("strategy", "auto") not in STRATEGIES:
        yield "trainer.strategy", f"{trainer['strategy']} does not share a batch's rows; use ddp"
    if batch_size is not None and 2 <= batch_size < processes:
        message = f"{batch_size} pairs cannot be shared by {processes} processes; use at least {processes}"
        yield "batch_size", f"{message} (it is what all have together)"


def _gpus(trainer: Mapping[str, Any]) -> int:
    return cuda_devices() if trainer.get("accelerator", "auto") in ON_GPUS else 0
