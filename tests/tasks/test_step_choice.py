"""What is encoded at a time and whether layers are compiled: asked for, known from before, or by device and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import torch

from matryoshka.memory.estimate import MemorySettings
from matryoshka.memory.limits import MemoryLimits
from matryoshka.tasks import step_choice
from matryoshka.tasks.step_choice import StepChoice
from matryoshka.training.plan import TrainingPlan

PLAN = TrainingPlan([32], 16)


@dataclass(frozen=True)
class Recipe:
    """What the choice goes by."""

    accumulation: int = 16
    pairs_at_once: int | None = None
    tokens_at_once: Any = "auto"
    compiled_layers: Any = "auto"

    @property
    def config(self) -> dict[str, Any]:
        return {"tokens_at_once": self.tokens_at_once, "compiled_layers": self.compiled_layers}


class Memory:
    """A run that takes a byte a token, but at least 1,000."""

    encoder, batches, processes = None, (), 1

    def estimate(self, settings: MemorySettings) -> Any:
        return type("Estimate", (), {"peak": max(1_000, settings.tokens_at_once)})()


def limits(device: str, available: float | None = 1e9) -> MemoryLimits:
    return MemoryLimits(MemorySettings(), torch.device(device), cast(Any, Memory()), available)


def choice(recipe: Recipe, given: MemoryLimits, before: dict[str, Any] | None = None) -> StepChoice:
    return StepChoice.of(cast(Any, recipe), given, PLAN, before)


@pytest.fixture(autouse=True)
def an_hour_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(step_choice, "measured_rate", lambda device: 1e12)
    monkeypatch.setattr(step_choice, "of_run", lambda *run: 3600 * 1e12 * step_choice.USUAL_SHARE)


@pytest.mark.parametrize(
    ("device", "available", "recipe", "tokens"),
    [
        ("cuda", 1e9, Recipe(), 16_384),
        ("cuda", 7_000.0, Recipe(), 4_096),
        ("cuda", 1_600.0, Recipe(), 0),
        ("cuda", 1e9, Recipe(accumulation=1), 0),
        ("cuda", 1e9, Recipe(pairs_at_once=4), 0),
        ("cpu", 1e9, Recipe(), 0),
        ("cpu", 1e9, Recipe(tokens_at_once=777), 777),
    ],
)
def test_tokens_are_as_many_as_keep_the_device_busy_and_fit(
    device: str, available: float, recipe: Recipe, tokens: int
) -> None:
    assert choice(recipe, limits(device, available)).tokens_at_once == tokens


def test_layers_are_compiled_for_a_long_training_on_a_gpu_and_it_says_so() -> None:
    found = choice(Recipe(), limits("cuda"))
    assert found.compiled_layers and "30 s at the first update, for a training of 1 h 00 min" in found.why
    assert not choice(Recipe(), limits("cpu")).compiled_layers
    assert not choice(Recipe(compiled_layers=False), limits("cuda")).compiled_layers


def test_a_run_that_goes_on_has_what_it_began_with() -> None:
    before = {"tokens_at_once": 2_048, "compiled_layers": False}
    found = choice(Recipe(), limits("cuda"), before)
    assert (found.tokens_at_once, found.compiled_layers) == (2_048, False)
    assert choice(replace(Recipe(), tokens_at_once=64), limits("cuda"), before).tokens_at_once == 64
