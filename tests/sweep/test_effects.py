"""Main effects: plain means on a whole grid, the slow reference on a partial one, and an honest account of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from matryoshka.sweep.effects import MainEffects, as_level, fitted, in_order, main_effects
from matryoshka.sweep.ranges import Range, in_ranges, keys_in_ranges
from tests.report.sweep.sweeps import drawn_sweep, job, sweep, whole_sweep, without_result

KEYS = ("lr", "scheduler", "batch")
LEVELS: dict[str, list[Any]] = {"lr": [1e-5, 5e-5, 2e-4], "scheduler": ["cosine", "linear"], "batch": [16, 32]}
GRID = [dict(zip(KEYS, values, strict=True)) for values in product(*LEVELS.values())]
Settings = Sequence[Mapping[str, Any]]


def noisy(count: int) -> list[float]:
    return (0.5 + np.random.default_rng(3).normal(0, 0.05, count)).tolist()


def plain_means(settings: Settings, values: Sequence[float], key: str) -> dict[str, float]:
    by_level: dict[str, list[float]] = {}
    for one, value in zip(settings, values, strict=True):
        by_level.setdefault(as_level(one[key]), []).append(value)
    means = {level: sum(found) / len(found) for level, found in by_level.items()}
    middle = sum(means.values()) / len(means)
    return {level: mean - middle for level, mean in means.items()}


def backfitted(settings: Settings, values: Sequence[float], keys: Sequence[str]) -> dict[str, dict[str, float]]:
    """The same model in small steps: each level gets the mean of what the others leave, again and again."""
    effects = {key: {as_level(one[key]): 0.0 for one in settings} for key in keys}
    mean = sum(values) / len(values)
    for _ in range(300):
        for key in keys:
            left: dict[str, list[float]] = {level: [] for level in effects[key]}
            for one, value in zip(settings, values, strict=True):
                others = sum(effects[other][as_level(one[other])] for other in keys if other != key)
                left[as_level(one[key])].append(value - mean - others)
            effects[key] = {level: sum(found) / len(found) for level, found in left.items()}
    for key, levels in effects.items():
        middle = sum(levels.values()) / len(levels)
        effects[key] = {level: effect - middle for level, effect in levels.items()}
    return effects


def of(found: MainEffects | None) -> dict[str, Mapping[str, float]]:
    assert found is not None
    return {effect.key: effect.levels for effect in found.effects}


def assert_equal(found: Mapping[str, Mapping[str, float]], wanted: Mapping[str, Mapping[str, float]]) -> None:
    assert found.keys() == wanted.keys()
    for key, levels in wanted.items():
        assert dict(found[key]) == pytest.approx(levels, abs=1e-9)


def test_on_a_whole_grid_effects_are_plain_means_and_shares_add_up() -> None:
    values = noisy(len(GRID))
    found = fitted(GRID, values, KEYS)

    assert_equal(of(found), {key: plain_means(GRID, values, key) for key in KEYS})
    assert found is not None and found.spare == 12 - 5
    assert sum(effect.share for effect in found.effects) + found.residual == pytest.approx(1)
    variance = np.var(values) * len(values)
    for effect in found.effects:
        explained = sum(effect.jobs[level] * value**2 for level, value in effect.levels.items())
        assert effect.share == pytest.approx(explained / variance)


def test_on_a_partial_grid_effects_are_those_of_the_slow_reference_and_not_plain_means() -> None:
    some = [GRID[i] for i in (0, 1, 2, 5, 7, 9, 11)]
    values = noisy(len(some))
    found = of(fitted(some, values, KEYS))

    assert_equal(found, backfitted(some, values, KEYS))
    plain = {key: plain_means(some, values, key) for key in KEYS}
    assert max(abs(plain[key][level] - found[key][level]) for key in KEYS for level in plain[key]) > 0.005


def test_what_is_additive_is_found_exactly_where_jobs_failed() -> None:
    truth = {"lr": {"1e-5": -0.1, "5e-5": 0.08, "2e-4": 0.02}, "scheduler": {"cosine": 0.01, "linear": -0.01}}
    truth["batch"] = {"16": -0.03, "32": 0.03}
    some = [one for i, one in enumerate(GRID) if i not in (0, 3, 10)]
    values = [0.6 + sum(truth[key][as_level(one[key])] for key in KEYS) for one in some]
    found = fitted(some, values, KEYS)

    assert_equal(of(found), truth)
    assert found is not None and found.residual == pytest.approx(0, abs=1e-12)
    assert [effect.key for effect in found.effects] == ["lr", "batch", "scheduler"]
    assert found.effects[0].span == pytest.approx(0.18) and found.effects[0].best == "5e-5"
    said = found.finding()
    assert said.startswith("lr matters most: 5e-5 instead of 1e-5 moves the value by 0.1800")
    assert said.index("batch (0.0600") < said.index("scheduler (0.0200") and "0% of the variance is left" in said


def test_an_interaction_is_left_over() -> None:
    cross = [{"a": a, "b": b} for a in (0, 1) for b in (0, 1)]
    found = fitted(cross, [1.0, 0.0, 0.0, 1.0], ("a", "b"))

    assert found is not None
    assert found.residual == pytest.approx(1) and found.spare == 1
    assert all(effect.share == pytest.approx(0, abs=1e-12) for effect in found.effects)
    assert "100% of the variance is left to interactions and chance" in found.finding()


def test_keys_that_change_together_are_not_told_apart() -> None:
    settings = [{"lr": lr, "batch": 2 * lr, "seed": seed} for lr in (1, 2) for seed in (1, 2)]
    found = fitted(settings, [0.1, 0.2, 0.5, 0.6], ("lr", "batch", "seed"))

    assert found is not None
    assert {effect.key: effect.separable for effect in found.effects} == {"lr": False, "batch": False, "seed": True}
    assert "do not tell the effects of lr, batch apart" in found.finding()
    assert "The seed alone moves it by 0.1000" in found.finding()


def test_with_as_many_numbers_as_jobs_nothing_is_said_of_chance() -> None:
    found = fitted([{"lr": 1}, {"lr": 2}, {"lr": 3}], [0.1, 0.3, 0.2], ("lr",))

    assert found is not None and found.spare == 0
    assert "too few jobs to tell" in found.finding() and "left" not in found.finding()
    assert found.finding().startswith("lr: 2 instead of 1 moves the value by 0.2000")


def test_where_nothing_moves_nothing_matters() -> None:
    found = fitted([{"lr": 1, "seed": 1}, {"lr": 2, "seed": 1}, {"lr": 1, "seed": 2}], [0.5] * 3, ("lr", "seed"))

    assert found is not None
    assert found.finding() == "No setting moves the value: it is the same in all 3 jobs."


def test_equal_values_and_missing_keys_are_levels_like_others() -> None:
    equal = fitted([{"lr": 1}, {}], [0.2, 0.2], ("lr",))
    assert equal is not None
    assert dict(equal.effects[0].levels) == pytest.approx({"1": 0, "null": 0}, abs=1e-12)
    assert (equal.effects[0].share, equal.residual) == (0, 0)


def test_a_sweep_without_two_levels_has_no_effects() -> None:
    assert main_effects(sweep()) is None
    assert main_effects(sweep(job())) is None
    assert main_effects(sweep(job(), without_result(job(2e-5), "failed"))) is None
    assert main_effects(sweep(job(), replace(job(2e-5), value=math.nan))) is None


def test_only_done_jobs_count() -> None:
    found = main_effects(whole_sweep())

    assert found is not None and found.jobs == 16
    assert {effect.key: sum(effect.jobs.values()) for effect in found.effects} == dict.fromkeys(
        ("optimizer.lr", "scheduler", "dims"), 16
    )


def test_of_many_numbers_the_effects_are_those_of_thirds_by_rank() -> None:
    drawn = drawn_sweep()
    done = [one for one in drawn.jobs if one.state == "done"]
    found = main_effects(drawn)

    by_hand = []
    for one in done:  # one job after the other, against all others
        grouped = dict(one.settings)
        for key in ("optimizer.lr", "loss.scale"):
            values = sorted({other.settings[key] for other in drawn.jobs})
            (third,) = (part for part in (values[:7], values[7:14], values[14:]) if one.settings[key] in part)
            grouped[key] = f"{as_level(third[0])} to {as_level(third[-1])}"
        by_hand.append(grouped)
    assert_equal(of(found), backfitted(by_hand, [one.value or 0.0 for one in done], drawn.keys))
    assert found is not None and found.spare == 11 - 2 - 2 - 2 - 1
    for effect in found.effects:
        lows = [float(level.split(" to ")[0]) for level in effect.levels if " to " in level]
        assert lows == sorted(lows) and sum(effect.jobs.values()) == len(done)


def test_only_numbers_that_most_jobs_have_alone_are_put_into_ranges() -> None:
    def of_key(*values: Any, key: str = "x") -> Any:
        jobs = [replace(job(), name=f"{i}", settings={key: value}) for i, value in enumerate(values)]
        return sweep(*jobs, keys=(key,))

    assert keys_in_ranges(of_key(*range(9))) == ("x",)
    assert keys_in_ranges(of_key(*range(8))) == ()
    assert keys_in_ranges(of_key(*range(9), *range(9))) == ()  # a grid
    assert keys_in_ranges(of_key(*range(9), None)) == ()
    assert keys_in_ranges(of_key(*range(9), "cosine")) == ()
    assert keys_in_ranges(of_key(*range(9), key="seed")) == ()
    uneven = in_ranges(of_key(3, 1, 2, 10, 10, 20, 50, 40, 30, 0.5, 0.25))
    assert {one.name: one.settings["x"] for one in uneven.jobs} == {
        "10": Range(0.25, 2), "9": Range(0.25, 2), "1": Range(0.25, 2), "2": Range(0.25, 2), "0": Range(3, 20),
        "3": Range(3, 20), "4": Range(3, 20), "5": Range(3, 20), "8": Range(30, 50), "7": Range(30, 50),
        "6": Range(30, 50),
    }  # fmt: skip
    assert in_ranges(uneven) == uneven


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-05, "2e-5"), (1e-4, "1e-4"), (0.001, "0.001"), (1.5e-7, "1.5e-7"), (0.1, "0.1"), (20.0, "20"), (16, "16"),
        (1 / 3, repr(1 / 3)), ([768, 64], "768-64"), ("cosine", "cosine"), (None, "null"), (True, "true"),
        ({"a": 1}, '{"a": 1}'), (Range(1e-5, 2.3e-5), "1e-5 to 2.3e-5"),
    ],
)  # fmt: skip
def test_levels_as_people_write_them(value: Any, text: str) -> None:
    assert as_level(value) == text


def test_levels_stand_in_the_order_of_their_size() -> None:
    mixed = ["linear", 1e-4, [768, 512, 64], 2e-5, "cosine", 16, [768, 64], None, 16]
    assert list(in_order(mixed)) == ["2e-5", "1e-4", "16", "768-64", "768-512-64", "cosine", "linear", "null"]
