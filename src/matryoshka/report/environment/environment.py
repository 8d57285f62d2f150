"""What a run ran on, so that it can be repeated: command, code, versions, hardware, threads."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from matryoshka.report.environment.code_state import code_state
from matryoshka.storage.atomic import write_atomically, write_json
from matryoshka.storage.credentials import masked

DECISIVE = (
    "matryoshka",
    "torch",
    "pytorch-lightning",
    "transformers",
    "tokenizers",
    "datasets",
    "torchmetrics",
    "hydra-core",
)
# Variables that change which numbers come out, or on how many threads.
PREFIXES = ("OMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "DNNL_", "CUBLAS_", "CUDA_", "CUDNN_", "NCCL_", "NVIDIA_")
OTHERS = ("PYTORCH_", "TORCH_", "PYTHONHASHSEED", "ATEN_CPU_CAPABILITY", "TOKENIZERS_", "MATRYOSHKA_")


def environment() -> dict[str, str]:
    """Name -> version of Python and the packages that decide figures, the code, the processor and the device."""
    return in_short(whole_environment())


def in_short(whole: Mapping[str, Any]) -> dict[str, str]:
    """What a card has room for."""
    hardware = whole["hardware"]
    facts = {"python": whole["python"], **{name: whole["packages"].get(name, "unknown") for name in DECISIVE}}
    if whole["commit"]:
        facts["commit"] = whole["commit"] + _changes(whole["changed"])
    facts["processor"] = f"{hardware['processor']}, {hardware['cores']} cores, {hardware['capability']}"
    facts["threads"] = str(whole["threads"]["torch"])
    if hardware["gpus"]:
        facts["gpu"] = hardware["gpus"][0]["name"]
    return facts


def whole_environment() -> dict[str, Any]:
    """Everything, as plain values: see docs/reproducing.md. No secret is in it."""
    state = code_state()
    changed = state.changed if state else ()
    return {
        "command": shlex.join(map(masked, sys.argv)),
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": state.commit if state else None,
        "changed": None if changed is None else list(changed),
        "hardware": _hardware(),
        "threads": _threads(),
        "determinism": _determinism(),
        "variables": {
            name: masked(os.environ[name]) for name in sorted(os.environ) if name.startswith(PREFIXES + OTHERS)
        },
        "packages": dict(sorted((found.name, found.version) for found in distributions() if found.name)),
    }


def _changes(changed: Sequence[str] | None) -> str:
    """A file that is not tracked, such as a user's data, is no change of the code."""
    if changed is None:
        return ", git did not say whether with changes"
    return " with uncommitted changes" if any(not line.startswith("??") for line in changed) else ""


def write_environment(folder: Path) -> Path:
    """environment.json; and code.diff, where the code has changes that are in no commit. Returns the first."""
    state = code_state()
    if state and state.diff:
        write_atomically(folder / "code.diff", state.diff)
    return write_json(folder / "environment.json", whole_environment())


def _hardware() -> dict[str, Any]:
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    driver = Path("/proc/driver/nvidia/version")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "memory": memory,
        "gpus": [{"name": gpu.name, "memory": gpu.total_memory} for gpu in gpus],
        "driver": driver.read_text(encoding="utf-8").splitlines()[0] if driver.is_file() else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpus else None,
    }


def _threads() -> dict[str, int]:
    import torch

    return {"torch": torch.get_num_threads(), "between_operations": torch.get_num_interop_threads()}


def _determinism() -> dict[str, Any]:
    import torch

    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file of a user
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
