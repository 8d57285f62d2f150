"""Numbers, choices and names that no run can have: the ranges of signatures, and what no signature can tell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from matryoshka.config.binding import out_of_range
from matryoshka.config.definitions import UnknownTargetError
from matryoshka.config.signatures import Parameter, parameters_of
from matryoshka.data.ranges import Count

Problem = tuple[str, str]
Config = Mapping[str, Any]


Whole = Annotated[int, Ge(0), Le(10**9), "0"]
ShareOrWhole = Whole | Annotated[float, Ge(0), Le(1)]  # a number with a point is a share
ShareOrCount = Annotated[int, Gt(0), Le(10**9), "1.0 for all"] | Annotated[float, Gt(0), Le(1)]
Beta = Annotated[float, Ge(0), Le(1 - 1e-12), "0.9"]

# The signatures of libraries have no ranges, and a class of ours around one would have to repeat all of its arguments.
OF_LIBRARIES: dict[str, dict[str, Any]] = {
    "torch.optim.AdamW": {
        "lr": Annotated[float, Gt(0), Le(1), "2e-5"],
        "eps": Annotated[float, Gt(0), Le(1), "1e-8"],
        "weight_decay": Annotated[float, Ge(0), Le(1), "0.01"],
        "betas": tuple[Beta, Beta],
    },
    "pytorch_lightning.Trainer": {
        "min_epochs": Whole,
        "num_nodes": Annotated[int, Ge(1), Le(100_000), "1"],
        "limit_train_batches": ShareOrCount,
        "limit_val_batches": ShareOrWhole,
        "limit_test_batches": ShareOrWhole,
        "limit_predict_batches": ShareOrWhole,
        "val_check_interval": ShareOrCount,
        "check_val_every_n_epoch": Count,
        "log_every_n_steps": Annotated[int, Ge(1), Le(10**9), "10"],
        "reload_dataloaders_every_n_epochs": Whole,
    },
}
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "pytorch_lightning.Trainer": {
        "accelerator": ("auto", "cpu", "gpu", "cuda", "mps", "tpu", "hpu"),
        "profiler": ("simple", "advanced", "pytorch", "xla"),
    },
}
DAYS_TO_SECONDS = re.compile(r"\d+:\d\d:\d\d:\d\d")
LONGEST_NAME = 150  # bytes of a part of a path; file systems end at 255, and Hydra adds to it


def limit_problems(config: Config, roots: Mapping[str, Parameter], wrong: set[str]) -> Iterator[Problem]:
    """Numbers, choices and a name that no run can have; nothing of the keys known to be wrong. roots: the root keys."""
    yield from not_finite(config, wrong)
    yield from out_of_range("", config, roots)
    for group, node in targets(config):
        if group not in wrong:
            target = str(node["_target_"])
            yield from out_of_range(group, node, parameters_with_ranges(target))
            for key, known in CHOICES.get(target, {}).items():
                value = node.get(key)
                if isinstance(value, str) and value not in known and f"{group}.{key}" not in wrong:
                    yield f"{group}.{key}", f"{value!r} is none; use {', '.join(known)}"
            if not isinstance(node.get("_partial_", False), bool):
                yield f"{group}._partial_", f"{node['_partial_']!r} is not a valid boolean; use true or false"
    if "dim_weights" not in wrong and (weights := config.get("dim_weights")) and not any(weights):
        yield "dim_weights", "are all 0: nothing would be trained; use null for 1 each"
    limit = config.get("trainer", {}).get("max_time") if "trainer" not in wrong else None
    if isinstance(limit, str) and not DAYS_TO_SECONDS.fullmatch(limit):
        yield "trainer.max_time", f"{limit!r} is no time; use days:hours:minutes:seconds like '00:08:00:00'"
    if "name" not in wrong:
        yield from name_problems(config["name"])


def targets(config: Config, prefix: str = "") -> Iterator[tuple[str, Config]]:
    """Every node with a `_target_` and its place, in groups that hold several by name as well."""
    for key, node in config.items():
        if isinstance(node, Mapping) and "_target_" in node:
            yield f"{prefix}{key}", node
        elif isinstance(node, Mapping) and not prefix:
            yield from targets(node, f"{key}.")


def name_problems(name: str) -> Iterator[Problem]:
    """A name that leads out of the folder of all runs, or that no folder can have."""
    parts = PurePath(name).parts
    if not parts or name.startswith(("/", "~")) or ".." in parts or "\\" in name:
        yield "name", f"{name!r} leads out of the folder of results; use a plain name like name=bmf"
    elif not name.isprintable() or any(len(part.encode()) > LONGEST_NAME for part in parts):
        yield "name", f"{name[:40]!r} cannot name a folder; use at most {LONGEST_NAME} visible characters"


def not_finite(config: Config, wrong: set[str], prefix: str = "") -> Iterator[Problem]:
    """Numbers that are NaN or infinite, wherever they stand."""
    for key, value in config.items():
        place = f"{prefix}{key}"
        if any(key == place or key.startswith(f"{place}[") for key in wrong):
            continue
        if isinstance(value, Mapping):
            yield from not_finite(value, wrong, f"{place}.")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                yield place, f"{number} is not a finite number; write another one"


def parameters_with_ranges(target: str) -> dict[str, Parameter]:
    """The arguments of a target, those of a library with our ranges."""
    ranges = {name: Parameter(annotation, False) for name, annotation in OF_LIBRARIES.get(target, {}).items()}
    try:
        return parameters_of(target) | ranges
    except UnknownTargetError:
        return {}
