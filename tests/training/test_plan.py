"""The plan of micro-batches and updates: the card's run to the step, transformers 5's as the alternative."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.training.plan import AcrossEpochs, TrainingPlan
from tests.golden.card_log import card_log

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


def test_the_cards_epochs_are_those_of_its_log() -> None:
    plan = TrainingPlan([MICRO_BATCHES] * 10, 16, "carry")

    assert [round(plan.epoch_at(int(row["step"])), 4) for row in card_log()] == [row["epoch"] for row in card_log()]


def test_an_evaluation_a_few_micro_batches_later_shows_the_epoch_of_its_update() -> None:
    """The first epoch ends 6 micro-batches after update 19; the log says .9806 and not 1."""
    plan = TrainingPlan([MICRO_BATCHES] * 10, 16, "carry")

    assert plan.window(0, 19 * 16 - 1) == (16, True)
    assert [plan.window(0, i) for i in range(19 * 16, 310)] == [(16, False)] * 6
    assert [plan.window(1, i)[1] for i in range(10)] == [False] * 9 + [True]


def test_flush_ends_every_window_with_its_epoch() -> None:
    plan = TrainingPlan([MICRO_BATCHES] * 10, 16, "flush")
    at_ends, windows = walk(plan)
    assert plan.updates == 200
    assert at_ends == list(range(20, 201, 20))
    assert windows[19] == [6] * 6
    assert [len(window) for window in windows[:20]] == [16] * 19 + [6]
    assert plan.epoch_at(20) == 1.0
    assert plan.epoch_at(19) == pytest.approx(304 / 310)
    assert plan.epoch_at(21) == pytest.approx(1 + 16 / 310)
    assert plan.epoch_at(200) == 10.0


@pytest.mark.parametrize("mode", ["carry", "flush"])
def test_an_epoch_shorter_than_a_window_ends_with_an_update(mode: AcrossEpochs) -> None:
    plan = TrainingPlan([3, 3], 16, mode)
    assert plan.updates == 2
    assert walk(plan)[0] == [1, 2]


def test_without_accumulation_every_micro_batch_is_an_update() -> None:
    plan = TrainingPlan([5, 4], 1, "carry")
    assert plan.updates == 9
    assert walk(plan)[0] == [5, 9]


def updates_of_transformers(micro_batches: list[int], accumulation: int) -> list[tuple[int, int]]:
    """(epoch, micro-batch) of every update by the condition of transformers 4.44's training loop."""
    updates, total_batched_samples = [], 0
    for epoch, steps_in_epoch in enumerate(micro_batches):
        for step in range(steps_in_epoch):
            total_batched_samples += 1
            last_of_short_epoch = steps_in_epoch <= accumulation and step + 1 == steps_in_epoch
            if total_batched_samples % accumulation == 0 or last_of_short_epoch:
                updates.append((epoch, step))
    return updates


def updates_of(plan: TrainingPlan) -> list[tuple[int, int]]:
    return [
        (epoch, micro_batch)
        for epoch, count in enumerate(plan.micro_batches)
        for micro_batch in range(count)
        if plan.window(epoch, micro_batch)[1]
    ]


epochs = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@settings(deadline=None)
@given(epochs, st.integers(1, 20))
def test_carry_updates_where_transformers_4_does(micro_batches: list[int], accumulation: int) -> None:
    plan = TrainingPlan(micro_batches, accumulation, "carry")

    assert updates_of(plan) == updates_of_transformers(micro_batches, accumulation)
    assert plan.updates == sum(max(1, count // accumulation) for count in micro_batches)
    assert len(updates_of(plan)) >= plan.updates  # every promised update is reached
    assert {plan.window(0, i)[0] for i in range(micro_batches[0])} == {accumulation}


@pytest.mark.parametrize("mode", ["carry", "flush"])
@settings(deadline=None)
@given(micro_batches=epochs, accumulation=st.integers(1, 20))
def test_the_epoch_of_an_update_is_where_it_happens(
    mode: AcrossEpochs, micro_batches: list[int], accumulation: int
) -> None:
    """As in transformers' training loop: epoch + (step + 1) / steps_in_epoch."""
    plan = TrainingPlan(micro_batches, accumulation, mode)

    happened = [epoch + (micro_batch + 1) / micro_batches[epoch] for epoch, micro_batch in updates_of(plan)]
    assert [plan.epoch_at(update) for update in range(1, len(happened) + 1)] == happened
    assert plan.epoch_at(0) == 0
    with pytest.raises(ValueError, match="1 update"):
        plan.epoch_at(len(happened) + 1)


@pytest.mark.parametrize("mode", ["carry", "flush"])
@settings(deadline=None)
@given(micro_batches=epochs, accumulation=st.integers(1, 20))
def test_evaluations_come_at_the_epochs_ends_until_the_last_update(
    mode: AcrossEpochs, micro_batches: list[int], accumulation: int
) -> None:
    plan = TrainingPlan(micro_batches, accumulation, mode)

    assert plan.epoch_ends == walk(plan)[0]


@settings(deadline=None)
@given(epochs, st.integers(1, 20))
def test_flush_weighs_the_micro_batches_of_a_window_alike(micro_batches: list[int], accumulation: int) -> None:
    plan = TrainingPlan(micro_batches, accumulation, "flush")

    assert len(updates_of(plan)) == plan.updates
    for epoch, count in enumerate(micro_batches):
        window: list[int] = []
        for i in range(count):
            divisor, update = plan.window(epoch, i)
            window.append(divisor)
            if update:
                assert window == [len(window)] * len(window)
                assert len(window) == accumulation or i == count - 1
                window = []
        assert window == []
