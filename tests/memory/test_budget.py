"""How many tokens an evaluation encodes at once: by the device and its free memory, decided once before a run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from matryoshka.config.recipe import Recipe
from matryoshka.evaluation.embeddings import embed
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.memory import budget as module
from matryoshka.memory.budget import auto_budget
from matryoshka.memory.limits import KEEPS
from matryoshka.memory.measured import Growth, evaluation_growth
from matryoshka.tasks.measuring import Measuring
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_on_a_cpu_it_is_what_it_was() -> None:
    assert auto_budget(tiny_encoder(), CPU, trains=False) == 4096
    assert auto_budget(tiny_encoder(), torch.device("mps"), trains=True) == 4096


@pytest.mark.parametrize("trains", [False, True])
def test_on_a_gpu_it_is_the_largest_power_of_two_that_fits(monkeypatch: pytest.MonkeyPatch, trains: bool) -> None:
    encoder = tiny_encoder()
    weights = sum(4 * p.numel() for p in encoder.parameters()) * (4 if trains else 1)
    growth = evaluation_growth(encoder)
    for expected in (16_384, 8192, 1024, 256):
        needed = weights + growth.at(expected, 32 * expected)
        for spare, found in ((1.0, expected), (-1.0, max(256, expected // 2))):
            monkeypatch.setattr(module, "available", lambda *_, free=needed / KEEPS + spare: free)
            assert auto_budget(encoder, GPU, trains=trains) == found
    for free, found in ((1e15, 16_384), (0.0, 256), (None, 4096)):
        monkeypatch.setattr(module, "available", lambda *_, free=free: free)
        assert auto_budget(encoder, GPU, trains=trains) == found


def test_what_is_measured_is_left_as_it_was() -> None:
    encoder = tiny_encoder(dropout=0.1).train()
    state = torch.get_rng_state()

    growth = evaluation_growth(encoder)
    assert isinstance(growth, Growth) and growth.per_token > 0
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_number_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available", lambda *_: 0.0)
    evaluator = Evaluator(token_budget=70)

    assert evaluator.budget(tiny_encoder(), GPU) == 70
    other = evaluator.with_budget(9)
    assert (evaluator.token_budget, other.token_budget) == (70, 9)
    assert other.metrics is evaluator.metrics


def test_a_run_decides_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, free = tiny_encoder(), iter([1e15, 0.0, 0.0])
    monkeypatch.setattr(module, "available", lambda *_: next(free))
    recipe = cast(Recipe, SimpleNamespace(evaluator=Evaluator()))

    measuring = Measuring.of(recipe, encoder, [32, 8], "32-true", GPU)
    assert [measuring.token_budget, measuring.token_budget, measuring.evaluator.token_budget] == [16_384] * 3
    assert replace(measuring, encoder=tiny_encoder(width=16)).token_budget == 16_384
    assert recipe.evaluator.token_budget == "auto"


@pytest.mark.parametrize("evaluator", [Evaluator(), Evaluator(token_budget=50)])
def test_batches_go_by_it(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[int] = []

    def watched(*args: Any, token_budget: int, **options: Any) -> Any:
        budgets.append(token_budget)
        return embed(*args, token_budget=token_budget, **options)

    monkeypatch.setattr("matryoshka.evaluation.evaluator.embed", watched)
    evaluator.evaluate(tiny_encoder(), small_set(), [16])
    assert budgets == [4096 if evaluator.token_budget == "auto" else 50]
