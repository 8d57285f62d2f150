"""How much memory a device has left."""

from __future__ import annotations

from pathlib import Path

import torch

from matryoshka.encoder.encoder import Encoder


def available(device: torch.device, encoder: Encoder) -> float | None:
    """Bytes that a run can have on a device, those that the encoder's weights have there included; None if unknown."""
    on_device = (p for p in encoder.parameters() if p.device.type == device.type)
    held = sum(p.numel() * p.element_size() for p in on_device)
    if device.type == "cuda":
        if not torch.cuda.is_available():  # that of another machine
            return None
        return float(torch.cuda.mem_get_info(device)[0] + held)
    if device.type != "cpu" or (free := free_on_host()) is None:
        return None
    return float(free + held)


def free_on_host() -> float | None:
    """Bytes of the host's memory that this process can still have; None if unknown."""
    facts, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if not facts.is_file():
        return None
    import resource  # which Windows has not

    free = 1024 * int(next(line for line in facts.read_text().splitlines() if "MemAvailable" in line).split()[1])
    limit = (group / "memory.max").read_text().strip() if (group / "memory.max").is_file() else "max"
    if limit != "max":  # of a container; what it holds of files is given back when needed
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free = min(free, int(limit) - int(used["anon"]))
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:  # ulimit -v
        free = min(free, space - resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0]))
    return float(free)
