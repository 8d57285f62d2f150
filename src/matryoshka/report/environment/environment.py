"""What a run ran on, so that it can be repeated: command, code and its changes, versions, hardware, threads."""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from matryoshka.storage.atomic import write_atomically, write_json
from matryoshka.storage.credentials import masked, without_secrets

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
LIMIT = 1_000_000  # characters of a diff
NAMED = 50  # changed files
PATIENCE = 10  # seconds for a command
HEADER = re.compile(r"^(@@ [^@\n]* @@).*$", re.MULTILINE)  # ends with some earlier line of the file


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
    import torch

    state = code_state()
    changed = state.changed if state else ()
    return {
        "command": shlex.join(map(masked, sys.argv)),
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": state.commit if state else None,
        "changed": None if changed is None else list(changed),
        "hardware": _hardware(),
        "threads": {"torch": torch.get_num_threads(), "between_operations": torch.get_num_interop_threads()},
        "determinism": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
        },
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


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file of a user
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


@dataclass(frozen=True)
class CodeState:
    """commit: its hash. changed: files that differ from it, as `git status` says. diff: of the tracked ones.

    changed and diff are None where git did not say in time.
    """

    commit: str
    changed: tuple[str, ...] | None
    diff: str | None


@functools.cache
def code_state(checkout: Path | None = None) -> CodeState | None:
    """The state of the project's checkout; None where it is installed without one, or git cannot say.

    The diff is masked and cut after LIMIT characters. Read once: a run is of the code that it began with.
    """
    folder = checkout or _checkout()
    if folder is None or not (folder / ".git").exists():
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(folder, "status", "--porcelain")
    diff = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color")
    named = None if changed is None else tuple(map(masked, changed.splitlines()[:NAMED]))
    return CodeState(commit.strip(), named, None if diff is None else _to_be_shown(diff))


def _to_be_shown(diff: str) -> str:
    diff = without_secrets(HEADER.sub(r"\1", diff))
    if len(diff) <= LIMIT:
        return diff
    return f"{diff[:LIMIT]}\n... cut after {LIMIT:,} of {len(diff):,} characters\n"


def _checkout() -> Path | None:
    """The folder that this package is run from, not one that it is merely installed within."""
    source = Path(__file__).resolve().parents[3]
    return source.parent if source.name == "src" and (source.parent / "conf" / "train.yaml").is_file() else None


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where it fails or takes too long, as `status` may in a large checkout."""
    command = ["git", "-C", str(folder), "--no-optional-locks", *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
