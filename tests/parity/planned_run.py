"""A run of the card's recipe with the smallest of encoders: set up as the training task does it, noting its updates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from datasets import Dataset
from omegaconf import OmegaConf
from torch import nn
from torch.optim import Optimizer

from matryoshka.config import resolvers
from matryoshka.config.recipe import TrainingRecipe, build
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.tasks.trainer import make_loggers, make_module, make_training, training_plan
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.plan import AcrossEpochs
from tests.composing import composed
from tests.parity.transformers_plan import Notes
from tests.tiny import tiny_encoder

CARD_DIMS = (768, 512, 256, 128, 64)
LogRow = tuple[float, int, str]  # epoch, step, "training loss" or "evaluation"
Measure = Callable[[], EvaluationResult]


@dataclass(frozen=True)
class Sizes:
    """What decides the plan of a run, as both sides are told."""

    rows: int
    batch_size: int
    accumulation: int
    epochs: int
    log_every: int = 1

    def for_transformers(self) -> dict[str, Any]:
        """The sizes with the rate and the warm-up that the card has; ours come from the recipe."""
        return {**asdict(self), "lr": 2e-5, "warmup": 0.1}


CARD = Sizes(rows=4957, batch_size=16, accumulation=16, epochs=10, log_every=10)


class PlannedRun(Notes):
    """What was noted, the rows as written to metrics.jsonl, and the update whose weights were kept."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.saved_step = 0

    @property
    def log(self) -> list[LogRow]:
        """Epoch, step and what it shows, of every row."""
        shown = ("training loss" if "train/loss" in row else "evaluation" for row in self.rows)
        return [(row["epoch"], int(row["step"]), what) for row, what in zip(self.rows, shown, strict=True)]


def card_recipe(sizes: Sizes, across_epochs: AcrossEpochs) -> dict[str, Any]:
    """`+experiment=bmf` as a machine that has a GPU and bge-m3 composes it; only its sizes and the device differ."""
    words = {
        "batch_size": sizes.batch_size,
        "accumulation": sizes.accumulation,
        "accumulation_across_epochs": across_epochs,
        "trainer.max_epochs": sizes.epochs,
        "trainer.log_every_n_steps": sizes.log_every,
        "trainer.enable_progress_bar": False,
        "trainer.precision": "32-true",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolvers, "why_not_card", lambda: "")
        config = composed("+experiment=bmf", "trainer=cpu", "logger=none", *(f"{k}={v}" for k, v in words.items()))
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    resolvers.register_resolvers()  # composing made them known, the patched one among them
    return plain


def planned_run(sizes: Sizes, across_epochs: AcrossEpochs, folder: Path, measure: Measure) -> PlannedRun:
    """Train: plan, trainer, module, checkpoint and log are those of the training task."""
    run = PlannedRun()
    recipe = build(card_recipe(sizes, across_epochs), TrainingRecipe)
    data = PairsModule(short_pairs(sizes.rows), recipe.sampler)
    plan = training_plan(recipe, data)
    encoder = tiny_encoder(width=4, layers=1)
    module = make_module(replace(recipe, dims=[encoder.width]), encoder, plan)
    module.loss.register_forward_hook(lambda _, __, loss: run.of_loss(loss.total))
    make = module.make_optimizer

    def noted(parameters: Iterable[nn.Parameter]) -> Optimizer:
        optimizer = make(parameters)
        optimizer.register_step_pre_hook(run.of_update)
        return optimizer

    module.make_optimizer = noted
    training = make_training(recipe, folder, module, data, make_loggers(recipe, folder), measure)
    training.fit()
    run.rows = [json.loads(line) for line in training.log.path.read_text(encoding="utf-8").splitlines()]
    run.saved_step = training.checkpoints.best.step if training.checkpoints.best else 0
    return run


def short_pairs(rows: int) -> Dataset:
    """Token ids of pairs, no two alike: any two letters, and the same two the other way round with a third."""
    letters = range(4, 80)
    two = [(a, b) for a in letters for b in letters][:rows]
    return Dataset.from_dict({"anchor": [[0, a, b] for a, b in two], "positive": [[0, b, a, 4] for a, b in two]})


def in_turn(values: Iterator[dict[str, float]]) -> Measure:
    """A stand-in for measuring: the next values, by full name of the metric and dim as map@100/dim_64."""

    def measure() -> EvaluationResult:
        metrics: dict[int, dict[str, float]] = {}
        for name, value in next(values).items():
            metric, _, dim = name.partition("/dim_")
            metrics.setdefault(int(dim), {})[metric] = value
        return EvaluationResult("tiny", "letters", 1, 1, max(metrics), metrics)

    return measure
