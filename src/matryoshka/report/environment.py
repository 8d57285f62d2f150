"""Versions and hardware of a run."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

PACKAGES = (
    "matryoshka",
    "torch",
    "pytorch-lightning",
    "transformers",
    "tokenizers",
    "datasets",
    "torchmetrics",
    "hydra-core",
)


def environment() -> dict[str, str]:
    """Name -> version of Python, the packages that decide figures, the processor and the device."""
    import torch

    facts = {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
    facts["processor"] = f"{_processor()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    facts["threads"] = str(torch.get_num_threads())
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file of a user
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
