"""Learning rates by update."""

from __future__ import annotations

import math

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
