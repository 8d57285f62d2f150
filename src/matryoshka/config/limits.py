"""Numbers that a run can have, where a type alone allows others: by the target that takes them, and at the root."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeGuard

Problem = tuple[str, str]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; without low itself where it is open. usual: what to write instead.

    share: a number with a point is a share, of at most 1.
    """

    low: float
    high: float
    usual: str
    open: bool = False
    share: bool = False

    def why_not(self, value: float) -> str:
        """How a number is none of them; empty if it is one."""
        if value < self.low or (self.open and value == self.low):
            return f"{value} is not {'above' if self.open else 'at least'} {self.low:g}; use for example {self.usual}"
        high = 1 if self.share and isinstance(value, float) else self.high
        return f"{value} is more than {high:g}; use for example {self.usual}" if value > high else ""


SEED = Range(0, 2**32 - 1, "42")
COUNT = Range(1, 1_000_000, "16")
RANKS = Range(1, 1_000_000, "10")
SHARE_OR_COUNT = Range(0, 1_000_000_000, "1.0 for all", open=True, share=True)
MANY = Range(0, 1_000_000_000, "0", share=True)
BETA = Range(0, 1 - 1e-12, "0.9")
WAVES = Range(0, 1000, "2", open=True)

ROOT = {
    "batch_size": COUNT,
    "accumulation": COUNT,
    "seed": SEED,
    "workers": Range(0, 1000, "0"),
    "skipped_at_most": Range(0, 1_000_000_000, "10; not_finite=stop to skip none"),
    "dim_weights": Range(0, 1_000_000, "1"),
    "max_grad_norm": Range(0, 1e12, "1.0, or 1e9 for no clipping", open=True),
}
OF_TARGET: dict[str, dict[str, Range]] = {
    "torch.optim.AdamW": {
        "lr": Range(0, 1, "2e-5", open=True),
        "eps": Range(0, 1, "1e-8", open=True),
        "weight_decay": Range(0, 1, "0.01"),
        "betas": BETA,
    },
    "matryoshka.training.callbacks.checkpoint.Checkpoints": {"minutes": Range(0, 1_000_000, "10")},
    "matryoshka.losses.ranking.RankingLoss": {"scale": Range(0, 10_000, "20", open=True)},
    "matryoshka.data.samplers.NoDuplicatesSampler": {"batch_size": COUNT, "seed": SEED},
    "matryoshka.data.samplers.ShuffledSampler": {"batch_size": COUNT, "seed": SEED},
    "matryoshka.data.split.DevOfTrain": {"seed": SEED},
    "matryoshka.evaluation.evaluator.Evaluator": {
        **dict.fromkeys(("accuracy_at", "precision_at", "recall_at", "ndcg_at", "mrr_at", "map_at"), RANKS),
        "token_budget": Range(1, 1_000_000_000, "4096"),
    },
    "matryoshka.training.schedulers.cosine": {"cycles": WAVES},
    "matryoshka.training.schedulers.cosine_with_restarts": {"cycles": WAVES},
    "matryoshka.training.schedulers.polynomial": {"power": Range(0, 100, "2.0", open=True)},
    "matryoshka.report.wandb.logger.wandb_logger": {
        "init_timeout": Range(0, 86_400, "20", open=True),
        "finish_timeout": Range(0, 86_400, "300", open=True),
    },
    "pytorch_lightning.Trainer": {
        "min_epochs": MANY,
        "num_nodes": Range(1, 100_000, "1"),
        "limit_train_batches": SHARE_OR_COUNT,
        "limit_val_batches": MANY,
        "limit_test_batches": MANY,
        "limit_predict_batches": MANY,
        "val_check_interval": SHARE_OR_COUNT,
        "check_val_every_n_epoch": COUNT,
        "log_every_n_steps": Range(1, 1_000_000_000, "10"),
        "reload_dataloaders_every_n_epochs": MANY,
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


def limit_problems(config: Config, wrong: set[str]) -> Iterator[Problem]:
    """Numbers, choices and a name that no run can have; nothing of the keys known to be wrong."""
    yield from not_finite(config, wrong)
    yield from _outside("", config, ROOT, wrong)
    for group, node in config.items():
        if isinstance(node, Mapping) and group not in wrong:
            target = str(node.get("_target_"))
            yield from _outside(f"{group}.", node, OF_TARGET.get(target, {}), wrong)
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


def _outside(prefix: str, node: Config, ranges: Mapping[str, Range], wrong: set[str]) -> Iterator[Problem]:
    for key, allowed in ranges.items():
        value = node.get(key)
        if f"{prefix}{key}" in wrong:
            continue
        for number in value if isinstance(value, list) else [value]:
            if _is_number(number) and (why := allowed.why_not(number)):
                yield f"{prefix}{key}", why


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
