"""Learning rates by update."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from transformers import optimization as of

from matryoshka.training import schedulers


def an_optimizer(lr: float = 1.0) -> Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(schedule: str, updates: int, **options: float) -> list[float]:
    """The rate that each update uses, for a peak of 1."""
    optimizer = an_optimizer()
    return used_by(optimizer, getattr(schedulers, schedule)(optimizer, updates, **options), updates)


def used_by(optimizer: Optimizer, scheduler: LRScheduler, updates: int) -> list[float]:
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
        ("reduce_on_plateau", 1.0),
    ],
)
def test_every_schedule_warms_up_to_its_peak(schedule: str, last: float | None) -> None:
    used = rates(schedule, 40, warmup=4)
    assert used[:4] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    assert max(used) == pytest.approx(1.0, abs=0.02)
    if last is not None and schedule != "inverse_square_root":
        assert used[-1] == pytest.approx(last)
    if schedule not in ("constant", "reduce_on_plateau"):
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
    "reduce_on_plateau": ({"factor": 0.1}, lambda s: 1.0),  # as long as nothing was evaluated
}


@pytest.mark.parametrize("schedule", FORMULAS)
@pytest.mark.parametrize("warmup", [WARMUP, WARMUP / UPDATES])
def test_every_schedule_by_its_formula(schedule: str, warmup: float) -> None:
    options, formula = FORMULAS[schedule]

    expected = [step / WARMUP if step < WARMUP else formula(step) for step in range(UPDATES)]
    assert rates(schedule, UPDATES, warmup=warmup, **options) == pytest.approx(expected, abs=1e-9)


def test_every_schedule_has_a_formula_here_and_a_choice_in_conf() -> None:
    made = {
        name
        for name, value in vars(schedulers).items()
        if inspect.isfunction(value) and value.__module__ == schedulers.__name__
    }
    assert made - {"warmup_updates"} == set(FORMULAS)
    choices = Path(schedulers.__file__).parents[3] / "conf" / "scheduler"
    assert {path.stem for path in choices.glob("*.yaml")} == set(FORMULAS)


DIRECTLY: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "constant": lambda o: of.get_constant_schedule_with_warmup(o, WARMUP),
    "linear": lambda o: of.get_linear_schedule_with_warmup(o, WARMUP, UPDATES),
    "cosine": lambda o: of.get_cosine_schedule_with_warmup(o, WARMUP, UPDATES),
    "cosine_with_restarts": lambda o: of.get_cosine_with_hard_restarts_schedule_with_warmup(o, WARMUP, UPDATES, 2),
    "polynomial": lambda o: of.get_polynomial_decay_schedule_with_warmup(o, WARMUP, UPDATES, 0.0, 2.0),
    "inverse_square_root": lambda o: of.get_inverse_sqrt_schedule(o, WARMUP),
    "warmup_stable_decay": lambda o: of.get_wsd_schedule(o, WARMUP, 8, UPDATES),
}


@pytest.mark.parametrize("schedule", DIRECTLY)
def test_every_schedule_is_transformers_own(schedule: str) -> None:
    ours, theirs = an_optimizer(3e-4), an_optimizer(3e-4)
    made = getattr(schedulers, schedule)(ours, UPDATES, warmup=WARMUP)

    assert used_by(ours, made, UPDATES) == used_by(theirs, DIRECTLY[schedule](theirs), UPDATES)


METRIC = [0.30, 0.40, 0.4004, 0.39, 0.45, 0.4, 0.4, 0.5]  # after each epoch of 5 updates


@pytest.mark.parametrize("patience", [0, 1])
def test_after_its_warmup_a_plateau_is_torchs(patience: int) -> None:
    ours, theirs = an_optimizer(3e-4), an_optimizer(3e-4)
    options = {"factor": 0.5, "patience": patience, "threshold": 0.001}
    made = schedulers.reduce_on_plateau(ours, UPDATES, warmup=WARMUP, **options)
    direct = ReduceLROnPlateau(theirs, mode="max", threshold_mode="abs", **options)
    warm = [3e-4 * step / WARMUP for step in range(WARMUP)]
    for epoch, value in enumerate(METRIC):
        expected = [*(warm if epoch == 0 else []), *[direct.get_last_lr()[0]] * 5][:5]
        assert used_by(ours, made, 5) == expected
        made.step(value)
        direct.step(value)
    assert made.get_last_lr() == direct.get_last_lr() == [3e-4 * (0.5**4 if patience == 0 else 0.5**2)]


def test_an_evaluation_within_the_warmup_is_no_plateau() -> None:
    optimizer = an_optimizer()
    made = schedulers.reduce_on_plateau(optimizer, UPDATES, warmup=6)
    for _ in range(2):
        used_by(optimizer, made, 2)
        made.step(0.5)

    assert used_by(optimizer, made, 4) == [4 / 6, 5 / 6, 1.0, 1.0]
    assert made.best == -math.inf


def test_a_plateau_goes_on_from_its_state() -> None:
    optimizer, other = an_optimizer(), an_optimizer()
    made, restored = (schedulers.reduce_on_plateau(o, UPDATES, warmup=2, patience=1) for o in (optimizer, other))
    used_by(optimizer, made, 4)
    made.step(0.5)
    made.step(0.5)
    other.load_state_dict(optimizer.state_dict())
    restored.load_state_dict(made.state_dict())
    for scheduler in (made, restored):
        scheduler.step(0.4)

    assert used_by(other, restored, 3) == used_by(optimizer, made, 3) == [0.5] * 3
    assert all(isinstance(value, int | float | str | list | None) for value in made.state_dict().values())


def test_a_share_to_decay_is_that_of_all_updates() -> None:
    by_share = rates("warmup_stable_decay", UPDATES, warmup=WARMUP, decay=0.25)
    assert by_share == rates("warmup_stable_decay", UPDATES, warmup=WARMUP, decay=10)


@pytest.mark.parametrize("schedule", FORMULAS)
def test_the_first_rate_is_0_with_a_warmup_only(schedule: str) -> None:
    assert rates(schedule, UPDATES)[0] == (1.0 if schedule == "constant" else 0.0)
    assert rates(schedule, UPDATES, warmup=0)[0] == pytest.approx(1.0)
