"""The device of a run, and what every task sets for it before it computes."""

from __future__ import annotations

from typing import Any

import torch

from matryoshka.errors import UserError
from matryoshka.processes.launched import launched, named_devices


def device_of(accelerator: str, devices: Any = 1) -> torch.device:
    """The device that Lightning's accelerator name leads to; a GPU with its number.

    devices: trainer.devices, where [k] is GPU k. A process among several has the GPU of its number on its machine.
    """
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        place, named = launched(), named_devices(devices)
        return torch.device("cuda", place.local_rank if place else named[0] if named else 0)
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return torch.device("mps")
    return torch.device("cpu")


def prepare(device: torch.device) -> None:
    """Set for the whole process how fp32 is multiplied, which attention is used, and which GPU is the current one.

    Equal weights measure alike only where this is equal, so it goes by the device alone, not by earlier jobs of the
    process. Of CUDA nothing is touched for another device. Raises UserError for a GPU that is not among those here.
    """
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else "highest")  # high: tf32, as the card's run
    if device.type != "cuda" or not torch.cuda.is_available():  # a plan may be for another machine
        return
    if device.index is not None and device.index >= (count := torch.cuda.device_count()):
        raise UserError(f"trainer.devices: there is no GPU {device.index}; this machine shows {count}, from 0 on")
    # It comes first on Hopper and Blackwell, plans for every new shape, which each micro-batch has, and some versions
    # drop too many or too few attention weights.
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.cuda.set_device(device)  # else what asks for no device starts a context on GPU 0
