"""Values that depend on the machine or on the sweep: one experiment file holds the card's recipe and its stand-in."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import ListConfig, OmegaConf

from matryoshka.config.limits import name_problems

CARD_ENCODER = "BAAI/bge-m3"
BMF_FILES = ("train.jsonl", "evaluation.jsonl")
PICKLED_ASKED = "MATRYOSHKA_PICKLED_WEIGHTS"  # true where the command has encoder.pickled_weights=true
NOT_NAMED = ("hydra", "logger", "export")


def register_resolvers() -> None:
    """Make the resolvers known to OmegaConf; needed before a configuration is composed."""
    resolvers: dict[str, Callable[..., Any]] = {
        "card_or_cpu": lambda card, cpu: cpu if why_not_card() else card,
        "bmf_pairs_or": lambda other: other if why_not_bmf_pairs() else "bmf",
        "why_not_card": why_not_card,
        "why_not_bmf_pairs": why_not_bmf_pairs,
        "bmf_folder": bmf_folder,
        "german_help": partial(embedded_file, "german_help"),
        "german_music": partial(embedded_file, "german_music"),
        "folder_name": folder_name,
        "run_name": run_name,
        "sweep_group": sweep_group,
        "sweep_choices": lambda: ListConfig(sweep_choices()),  # --cfg job --resolve takes no plain list
        "jobs_at_once": jobs_at_once,
        "gpus": gpus,
        "gpu_count": lambda: len(gpus()),
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


@cache
def why_not_card() -> str:
    """Why this machine cannot run the card's recipe; empty if it can."""
    if cuda_devices() == 0:
        return "there is no CUDA GPU here"
    from matryoshka.encoder.hub_model import any_pickled, unreadable
    from matryoshka.encoder.pretrained import Pretrained
    from matryoshka.encoder.weight_files import READ_PICKLED
    from matryoshka.errors import UserError

    try:
        _ = Pretrained(CARD_ENCODER).config
    except UserError:
        return f"{CARD_ENCODER} is not in the hub's cache and the hub cannot be reached"
    snapshot = unreadable(CARD_ENCODER, None, pickled=os.environ.get(PICKLED_ASKED) == "true")
    if snapshot is None:
        return ""
    lacks = f"the hub's cache has {CARD_ENCODER} without safetensors"
    return f"{lacks}; {READ_PICKLED}" if any_pickled(snapshot) else f"{lacks}, and HF_HUB_OFFLINE is set"


def why_not_bmf_pairs() -> str:
    """Why the card's pairs are not used; empty if they are in the user's folder."""
    folder = Path(bmf_folder())
    missing = [name for name in BMF_FILES if not (folder / name).is_file()]
    return f"they are not public and {folder} has no {' and '.join(missing)}" if missing else ""


def bmf_folder() -> str:
    """The folder of the card's pairs: $MATRYOSHKA_BMF, else data/bmf."""
    return os.environ.get("MATRYOSHKA_BMF", "data/bmf")


def embedded_file(folder: str, name: str) -> str:
    """The path of a file of the embedded German pairs."""
    import matryoshka.embedded

    return str(Path(matryoshka.embedded.__path__[0]) / folder / name)


def folder_name(text: Any) -> str:
    """A job's overrides as one folder name: `dims=[768,64],seed=1` -> `dims=768-64,seed=1`."""
    kept = re.sub(r"[\[\]{}'\"\\$\s]", "", str(text))  # no quote or ${ either: the name is a word of a command
    parts: list[str] = []
    for part in kept.split(","):
        # A list's commas become dashes; those between overrides stay.
        if parts and "=" not in part:
            parts[-1] += f"-{part}"
        else:
            parts.append(part)
    name = ",".join(parts).replace("/", "_") or "default"
    # File systems end names at 255 bytes; the hash keeps shortened ones apart.
    encoded = name.encode()
    if len(encoded) <= 200:
        return name
    return f"{encoded[:150].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:8]}"


def run_name(name: Any) -> str:
    """The name itself if a folder of results can have it; else `none`: Hydra makes the folder before any check."""
    return "none" if not isinstance(name, str) or any(name_problems(name)) else name


def jobs_at_once() -> int:
    """Jobs that this machine's cores take at $OMP_NUM_THREADS each, or at two of more than two cores."""
    from joblib import cpu_count  # of the launcher, which divides it by the jobs

    cores: int = cpu_count()
    threads = int(os.environ.get("OMP_NUM_THREADS") or (2 if cores > 2 else 1))
    return max(1, cores // threads)


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Raises UserError where there is none."""
    from matryoshka.errors import UserError

    if not (count := cuda_devices()):
        raise UserError("there is no CUDA GPU here; hydra/launcher=cores runs jobs on the cores")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


# Run by a process of its own: CUDA reads CUDA_VISIBLE_DEVICES once a process, and a job may yet be given its GPU.
COUNT_DEVICES = """
import ctypes
driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
print(0 if failed else count.value)
"""


@cache
def cuda_devices() -> int:
    """CUDA devices that this Python's torch can use, counted through the driver: torch is not imported."""
    try:
        if version("torch").endswith("+cpu"):
            return 0
        ctypes.CDLL("libcuda.so.1")
    except (PackageNotFoundError, OSError):
        return 0
    counted = subprocess.run([sys.executable, "-c", COUNT_DEVICES], capture_output=True, text=True, check=False)
    return int(counted.stdout or 0)


def sweep_group() -> str | None:
    """The sweep's folder below multirun/, as in `bmf/dims_lr_scheduler`; None outside a sweep."""
    if not _in_a_sweep():
        return None
    return sweep_name(Path(HydraConfig.get().sweep.dir)) or None


def sweep_name(folder: Path) -> str:
    """A sweep's folder without the one of all sweeps; its own name where it lies elsewhere."""
    parts = folder.parts[folder.parts.index("multirun") + 1 :] if "multirun" in folder.parts else folder.parts[-1:]
    return "/".join(parts)


def sweep_choices() -> list[str]:
    """What is swept of the job's overrides, for a reader: `dims 768-64`, `lr 2e-05`, of a group its choice: `cosine`.

    Swept is what the job's folder is named after; where the user named it, every override.
    """
    if not _in_a_sweep():
        return []
    config = HydraConfig.get()
    left_out = {*config.job.config.override_dirname.exclude_keys, *NOT_NAMED}
    words = OverridesParser.create().parse_overrides(list(config.overrides.task))
    words = [word for word in words if not {word.key_or_group, word.key_or_group.partition(".")[0]} & left_out]
    swept = {part.partition("=")[0] for part in str(config.sweep.subdir).split(",")}
    named = [word for word in words if word.key_or_group in swept] or words
    return [_told(word.key_or_group, word.value(), word.key_or_group in config.runtime.choices) for word in named]


def _told(key: str, value: Any, is_group: bool) -> str:
    text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if is_group else f"{key.rpartition('.')[2]} {text}"


def _in_a_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
