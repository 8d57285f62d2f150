"""The root keys of the two primary configurations: their types are checked like a signature's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from matryoshka.ranges import Count, Seed

Group = dict[str, Any]


@dataclass
class TrainSchema:
    """Keys of conf/train.yaml."""

    data: Group
    encoder: Group
    pooling: Group
    loss: Group
    sampler: Group
    optimizer: Group
    scheduler: Group
    evaluator: Group
    trainer: Group
    name: str
    dims: list[int]
    batch_size: Count
    accumulation: Count
    accumulation_across_epochs: Literal["carry", "flush"]
    max_grad_norm: Annotated[float, Gt(0), Le(10**12), "1.0, or 1e9 for no clipping"]
    seed: Seed
    split: Group
    doctor: Group
    bm25: Group
    checkpoint: Group
    task: Literal["train", "doctor", "plan"] = "train"
    resume: bool | str = False
    baselines: list[str] = field(default_factory=list)
    compact_vocabulary: bool = True
    pairs_at_once: Annotated[int, Ge(1), "{} is not at least 1; use null to keep the whole micro-batch"] | None = None
    workers: Annotated[int, Ge(0), Le(1000), "0, to prepare batches in the training's own process"] = 0
    logger: Group | None = None
    export: Group | None = None
    dim_weights: list[Annotated[float, Ge(0), Le(1_000_000), "1"]] | None = None
    dims_per_step: int | None = None
    not_finite: Literal["stop", "skip"] = "stop"
    skipped_at_most: Annotated[int, Ge(0), Le(10**9), "10; not_finite=stop to skip none"] = 10
    reference: Group = field(default_factory=dict)


@dataclass
class EvaluateSchema:
    """Keys of conf/evaluate.yaml."""

    model: str
    data: Group
    encoder: Group
    evaluator: Group
    bm25: Group
    name: str
    precision: Literal["auto", "fp32", "bf16"]
    pooling: Group | None = None
    dims: list[int] | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    baselines: list[str] = field(default_factory=list)
    ask: str | None = None
    compare: list[str] | None = None
    metric: str = "ndcg@10"
    protocol: Literal["as_is", "merged"] = "as_is"


# What the task gives to each group's target itself: a configuration does not.
GIVEN_BY_THE_TASK: dict[str, set[str]] = {
    "data": set(),
    "encoder": set(),
    "pooling": set(),
    "loss": set(),
    "sampler": {"texts"},
    "optimizer": {"params"},
    "scheduler": {"optimizer", "updates"},
    "evaluator": set(),
    "split": set(),
    "doctor": set(),
    "checkpoint": {"kept", "log", "state"},
    "bm25": set(),
    "trainer": {
        "callbacks",
        "logger",
        "max_steps",
        "num_sanity_val_steps",
        "use_distributed_sampler",
        "default_root_dir",
        "enable_checkpointing",
    },
    "logger": {"save_dir"},
    "export": set(),
}

# Groups with a choice that has no target: no logger, no export, the pooling saved with the model.
MAY_BE_EMPTY = {"logger", "export", "pooling"}
