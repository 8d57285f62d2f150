"""Learning rates by update."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch

from matryoshka import schedulers


def rates(schedule: str, updates: int, **options: float) -> list[float]:
    """The rate that each update uses, for a peak of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = getattr(schedulers, schedule)(optimizer, updates, **options)
    used = []
    for _ in range(updates):
        used.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return used


def test_the_cards_cosine_schedule_by_its_formula() -> None:
    def f(step: int) -> float:
        return step / 19 if step < 19 else 0.5 * (1 + math.cos(math.pi * (step - 19) / 171))

    assert rates("cosine", 190, warmup=0.1) == pytest.approx([f(n - 1) for n in range(1, 191)], abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        ("constant", 1.0),
        ("linear", 1 / 36),
        ("cosine_with_restarts", None),
        ("polynomial", None),
        ("inverse_square_root", (5 / 40) ** 0.5),
        ("warmup_stable_decay", None),
    ],
)
def test_every_schedule_warms_up_to_its_peak(schedule: str, last: float | None) -> None:
    used = rates(schedule, 40, warmup=4)
    assert used[:4] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    assert max(used) == pytest.approx(1.0, abs=0.02)
    if last is not None and schedule != "inverse_square_root":
        assert used[-1] == pytest.approx(last)
    if schedule != "constant":
        assert used[-1] < 0.5


def test_warmup_is_a_share_rounded_up_or_a_count() -> None:
    assert schedulers.warmup_updates(0.1, 190) == 19
    assert schedulers.warmup_updates(0.1, 191) == 20
    assert schedulers.warmup_updates(7, 191) == 7
    assert schedulers.warmup_updates(0, 191) == 0
    with pytest.raises(ValueError, match="share below 1"):
        schedulers.warmup_updates(-0.1, 191)


UPDATES, WARMUP = 40, 4


def after_warmup(step: int) -> float:
    """How far the part after the warm-up is done, from 0."""
    return (step - WARMUP) / (UPDATES - WARMUP)


FORMULAS: dict[str, tuple[dict[str, float], Callable[[int], float]]] = {
    "constant": ({}, lambda s: 1.0),
    "linear": ({}, lambda s: 1 - after_warmup(s)),
    "cosine": ({"cycles": 1.5}, lambda s: 0.5 * (1 + math.cos(3 * math.pi * after_warmup(s)))),
    "cosine_with_restarts": (
        {"cycles": 3},
        lambda s: 0.5 * (1 + math.cos(math.pi * (3 * after_warmup(s) % 1))),
    ),
    "polynomial": ({"power": 3.0}, lambda s: (1 - after_warmup(s)) ** 3),
    "inverse_square_root": ({}, lambda s: math.sqrt(WARMUP / s)),
    "warmup_stable_decay": (
        {"decay": 10},
        lambda s: 1.0 if s < UPDATES - 10 else 0.5 * (1 + math.cos(math.pi * (s - UPDATES + 10) / 10)),
    ),
}


@pytest.mark.parametrize("schedule", FORMULAS)
@pytest.mark.parametrize("warmup", [WARMUP, WARMUP / UPDATES])
def test_every_schedule_by_its_formula(schedule: str, warmup: float) -> None:
    options, formula = FORMULAS[schedule]

    expected = [step / WARMUP if step < WARMUP else formula(step) for step in range(UPDATES)]
    assert rates(schedule, UPDATES, warmup=warmup, **options) == pytest.approx(expected, abs=1e-9)


def test_every_schedule_has_a_formula_here() -> None:
    made = {
        name
        for name, value in vars(schedulers).items()
        if inspect.isfunction(value) and value.__module__ == schedulers.__name__
    }
    assert made - {"warmup_updates"} == set(FORMULAS)


def test_a_share_to_decay_is_that_of_all_updates() -> None:
    by_share = rates("warmup_stable_decay", UPDATES, warmup=WARMUP, decay=0.25)
    assert by_share == rates("warmup_stable_decay", UPDATES, warmup=WARMUP, decay=10)


@pytest.mark.parametrize("schedule", FORMULAS)
def test_the_first_rate_is_0_with_a_warmup_only(schedule: str) -> None:
    assert rates(schedule, UPDATES)[0] == (1.0 if schedule == "constant" else 0.0)
    assert rates(schedule, UPDATES, warmup=0)[0] == pytest.approx(1.0)
