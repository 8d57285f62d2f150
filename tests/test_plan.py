"""The plan of micro-batches and updates: the card's run to the step, transformers 5's as the alternative."""

from __future__ import annotations

import pytest

from matryoshka.plan import AcrossEpochs, TrainingPlan

MICRO_BATCHES = 310  # 4,957 rows in batches of 16


def walk(plan: TrainingPlan) -> tuple[list[int], list[list[int]]]:
    """(updates done at each epoch's end, divisors of each update's window), micro-batch by micro-batch."""
    updates, at_ends, windows, window = 0, [], [], []
    for epoch, count in enumerate(plan.micro_batches):
        for micro_batch in range(count):
            divisor, update = plan.window(epoch, micro_batch)
            window.append(divisor)
            if update:
                windows.append(window)
                window = []
                updates += 1
            if updates == plan.updates:
                return [*at_ends, updates], windows
        at_ends.append(updates)
    return at_ends, windows


def test_the_cards_run_has_its_updates_and_evaluations() -> None:
    plan = TrainingPlan([MICRO_BATCHES] * 10, 16, "carry")
    at_ends, windows = walk(plan)
    assert plan.updates == 190
    assert at_ends == [19, 38, 58, 77, 96, 116, 135, 155, 174, 190]
    assert all(window == [16] * 16 for window in windows)


@pytest.mark.parametrize(
    ("update", "epoch"),
    [(10, 0.5161), (19, 0.9806), (38, 1.9613), (58, 2.9935), (96, 4.9548), (155, 8.0), (174, 8.9806), (190, 9.8065)],
)
def test_the_cards_epochs_are_those_of_its_log(update: int, epoch: float) -> None:
    assert round(TrainingPlan([MICRO_BATCHES] * 10, 16, "carry").epoch_at(update), 4) == epoch


def test_flush_ends_every_window_with_its_epoch() -> None:
    plan = TrainingPlan([MICRO_BATCHES] * 10, 16, "flush")
    at_ends, windows = walk(plan)
    assert plan.updates == 200
    assert at_ends == list(range(20, 201, 20))
    assert windows[19] == [6] * 6
    assert [len(window) for window in windows[:20]] == [16] * 19 + [6]
    assert plan.epoch_at(20) == 1.0


@pytest.mark.parametrize("mode", ["carry", "flush"])
def test_an_epoch_shorter_than_a_window_ends_with_an_update(mode: AcrossEpochs) -> None:
    plan = TrainingPlan([3, 3], 16, mode)
    assert plan.updates == 2
    assert walk(plan)[0] == [1, 2]


def test_without_accumulation_every_micro_batch_is_an_update() -> None:
    plan = TrainingPlan([5, 4], 1, "carry")
    assert plan.updates == 9
    assert walk(plan)[0] == [5, 9]
