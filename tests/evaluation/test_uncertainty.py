"""Intervals and p values against slow references, and by what they promise: how often they are right.

Each column of a simulation is a data set of its own, on the same clusters. Bounds are four standard errors.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator

from matryoshka.evaluation import uncertainty
from matryoshka.evaluation.uncertainty import (
    Floats,
    Ints,
    bootstrap_intervals,
    clusters,
    holm,
    paired_randomisation,
    stratified_intervals,
)


def simulated(generator: Generator, sizes_C: Ints, sets: int, shift: float = 0.0) -> tuple[Ints, Floats]:
    """Clusters of these sizes and as many data sets on them: a rank of each query, by a share of which clusters differ,
    as nDCG of one right document. shift: of how good the model is; by .3 nDCG rises by about .07."""
    clusters_Q = np.repeat(np.arange(len(sizes_C)), sizes_C)
    shared_CM = math.sqrt(0.6) * generator.normal(size=(len(sizes_C), sets))
    skill_QM = shift + shared_CM[clusters_Q] + math.sqrt(0.4) * generator.normal(size=(len(clusters_Q), sets))
    rank_QM = np.floor(np.exp(-1.5 * skill_QM)) + 1
    return clusters_Q, np.where(rank_QM <= 10, 1 / np.log2(rank_QM + 1), 0.0)


def unequal_sizes(generator: Generator, count: int) -> Ints:
    """Mostly one, two or three queries; now and then ten."""
    return generator.geometric(0.35, size=count)


def four_errors(rate: float, trials: int) -> float:
    return 4 * math.sqrt(rate * (1 - rate) / trials)


# --- Clusters --------------------------------------------------------------------------------------------------------


def test_queries_that_share_an_answer_are_one_cluster_over_others_too() -> None:
    relevant = {"q0": {"a"}, "q1": {"b"}, "q2": {"c", "d"}, "q3": {"d", "b"}, "q4": {"e"}, "q5": {"a"}}

    assert clusters(relevant).tolist() == [0, 1, 1, 1, 2, 0]
    assert clusters([[7], [8, 9], [9, 7], [5]]).tolist() == [0, 0, 0, 1]
    assert clusters([]).tolist() == []


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 12), max_size=3), max_size=12))
def test_clusters_are_those_of_a_slow_flood(answers: list[set[int]]) -> None:
    expected = list(range(len(answers)))
    for _ in answers:
        for one, other in itertools.combinations(range(len(answers)), 2):
            if answers[one] & answers[other]:
                expected[one] = expected[other] = min(expected[one], expected[other])

    order = list(dict.fromkeys(expected))
    assert clusters(answers).tolist() == [order.index(number) for number in expected]


def test_a_long_chain_is_one_cluster() -> None:
    chain = [[i, i + 1] for i in range(20_000)]
    assert set(clusters(chain)) == set(clusters(reversed(chain))) == {0}


# --- Intervals -------------------------------------------------------------------------------------------------------


def test_an_interval_is_between_percentiles_of_means_over_drawn_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    clusters_Q = generator.integers(9, size=30)
    values_QM = generator.random((30, 3))
    monkeypatch.setattr(uncertainty, "AT_ONCE", 40)  # four resamples at a time

    drawing, names = np.random.default_rng(3), sorted(set(clusters_Q.tolist()))
    means = []
    for _ in range(50):
        drawn = [names[i] for i in drawing.integers(len(names), size=len(names))]
        rows = [row for name in drawn for row in np.flatnonzero(clusters_Q == name)]
        means.append([sum(values_QM[row, column] for row in rows) / len(rows) for column in range(3)])
    tail = uncertainty._tail(0.1, len(names))

    low_M, high_M = bootstrap_intervals(values_QM, clusters_Q, resamples=50, seed=3, level=0.8)
    np.testing.assert_allclose(low_M, np.quantile(means, tail, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high_M, np.quantile(means, 1 - tail, axis=0), rtol=1e-12)


def test_the_mean_over_sets_draws_within_each(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, tail = np.random.default_rng(6), uncertainty._tail(0.1, 9, 5)
    sets = [
        (generator.random((30, 3)), generator.integers(9, size=30)),
        (generator.random((10, 3)), np.arange(10) // 2),
    ]
    monkeypatch.setattr(uncertainty, "AT_ONCE", 40)

    means = np.zeros((50, 3))
    for place, (values_QM, clusters_Q) in enumerate(sets):
        drawing, count = np.random.default_rng(3 + place), clusters_Q.max() + 1
        for resample in range(50):
            drawn = [row for name in drawing.integers(count, size=count) for row in np.flatnonzero(clusters_Q == name)]
            means[resample] += sum(values_QM[row] for row in drawn) / len(drawn) / 2

    low_M, high_M = stratified_intervals(sets, resamples=50, seed=3, level=0.8)
    np.testing.assert_allclose(low_M, np.quantile(means, tail, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high_M, np.quantile(means, 1 - tail, axis=0), rtol=1e-12)
    alone = np.stack(stratified_intervals(sets[:1], resamples=50, seed=3))
    assert (alone == np.stack(bootstrap_intervals(*sets[0], resamples=50, seed=3))).all()
    constant = np.full((4, 1), 0.3)
    assert np.isnan(stratified_intervals([*sets, (np.ones((4, 3)), np.zeros(4, dtype=np.int64))])).all()
    assert np.stack(stratified_intervals([(constant, np.arange(4)), (constant, np.arange(4))])).tolist() == [
        [0.3],
        [0.3],
    ]


def test_ninety_five_of_a_hundred_intervals_of_a_mean_over_sets_hold_it() -> None:
    generator, held, trials = np.random.default_rng(1), 0, 1000
    for _ in range(trials):  # three sets of few queries, whose values spread differently around 1, 2 and 3
        values = [n + generator.normal(size=(size, 1)) * n for n, size in ((1, 15), (2, 25), (3, 40))]
        sets = [(values_QM, np.arange(len(values_QM))) for values_QM in values]
        (low,), (high,) = stratified_intervals(sets, resamples=400)
        held += int(low <= 2 <= high)
    assert held / trials == pytest.approx(0.95, abs=four_errors(0.95, trials))


@pytest.mark.parametrize(("clusters_drawn", "student"), [(10, 2.2622), (20, 2.0930), (50, 2.0096), (500, 1.9647)])
def test_percentiles_make_up_for_few_clusters(clusters_drawn: int, student: float) -> None:
    spread = math.sqrt((clusters_drawn - 1) / clusters_drawn)
    expected = 0.5 * math.erfc(student / spread / math.sqrt(2))  # student: the t quantile, from a printed table

    assert uncertainty._tail(0.025, clusters_drawn) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("count", [60, 250])
def test_of_a_hundred_intervals_ninety_five_hold_the_mean_and_naive_ones_do_not(count: int) -> None:
    generator = np.random.default_rng(count)
    truth = simulated(generator, np.ones(200_000, dtype=np.int64), 1)[1].mean()
    held = {"by cluster": 0, "naive": 0}
    for _ in range(10):
        clusters_Q, values_QM = simulated(generator, unequal_sizes(generator, count), sets=200)
        for name, drawn in (("by cluster", clusters_Q), ("naive", np.arange(len(clusters_Q)))):
            low_M, high_M = bootstrap_intervals(values_QM, drawn, resamples=500)
            held[name] += int(((low_M <= truth) & (truth <= high_M)).sum())

    assert held["by cluster"] / 2000 == pytest.approx(0.95, abs=four_errors(0.95, 2000))
    assert held["naive"] / 2000 < 0.85


def test_equal_values_give_one_point() -> None:
    values_QM = np.full((40, 2), [0.3, 0.7])
    low_M, high_M = bootstrap_intervals(values_QM, np.arange(40) // 3)

    assert low_M.tolist() == high_M.tolist() == [0.3, 0.7]


def test_one_cluster_says_nothing_of_others() -> None:
    low_M, high_M = bootstrap_intervals(np.random.default_rng(0).random((5, 2)), np.zeros(5, dtype=np.int64))

    assert np.isnan([*low_M, *high_M]).all()


# --- The paired test -------------------------------------------------------------------------------------------------


def test_p_is_the_share_of_all_ways_to_exchange_the_names() -> None:
    generator = np.random.default_rng(8)
    clusters_Q = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 7])
    first_QM, second_QM = generator.random((12, 4)), generator.random((12, 4)) + np.array([0.0, 0.2, 0.4, 0.6])

    difference_QM = second_QM - first_QM
    reached_M = np.zeros(4)
    for signs in itertools.product([1, -1], repeat=8):
        mean_M = np.mean([signs[clusters_Q[row]] * difference_QM[row] for row in range(12)], axis=0)
        reached_M += np.abs(mean_M) >= np.abs(difference_QM.mean(axis=0)) - 1e-12
    exact_M = reached_M / 2**8

    p_M = paired_randomisation(first_QM, second_QM, clusters_Q, permutations=20_000)
    for p, exact in zip(p_M, exact_M, strict=True):
        assert p == pytest.approx(exact, abs=four_errors(exact, 20_000) + 1e-4)
    assert exact_M.min() < 0.02 < 0.2 < exact_M.max()


def test_a_few_permutations_at_a_time_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    first_QM, second_QM, clusters_Q = generator.random((30, 2)), generator.random((30, 2)), np.arange(30) // 2
    whole_M = paired_randomisation(first_QM, second_QM, clusters_Q, permutations=99)
    monkeypatch.setattr(uncertainty, "AT_ONCE", 50)

    assert paired_randomisation(first_QM, second_QM, clusters_Q, permutations=99).tolist() == whole_M.tolist()
    assert paired_randomisation(second_QM, first_QM, clusters_Q, permutations=99).tolist() == whole_M.tolist()


@pytest.mark.parametrize("count", [60, 250])
def test_equal_models_are_told_apart_in_one_of_twenty_trials(count: int) -> None:
    generator = np.random.default_rng(count)
    found = {"by cluster": 0, "naive": 0}
    for _ in range(10):
        sizes_C = unequal_sizes(generator, count)
        (clusters_Q, first_QM), (_, second_QM) = (simulated(generator, sizes_C, sets=200) for _ in range(2))
        for name, exchanged in (("by cluster", clusters_Q), ("naive", np.arange(len(clusters_Q)))):
            p_M = paired_randomisation(first_QM, second_QM, exchanged, permutations=500)
            found[name] += int((p_M <= 0.05).sum())

    assert found["by cluster"] / 2000 == pytest.approx(0.05, abs=four_errors(0.05, 2000))
    assert found["naive"] / 2000 > 0.15


def test_a_real_difference_is_found() -> None:
    generator = np.random.default_rng(0)
    sizes_C = unequal_sizes(generator, 250)
    (clusters_Q, first_QM), (_, second_QM) = (simulated(generator, sizes_C, 200, shift) for shift in (0.0, 0.5))

    assert (paired_randomisation(first_QM, second_QM, clusters_Q, permutations=500) <= 0.05).mean() > 0.8


def test_nothing_to_tell_apart_is_p_1() -> None:
    same_QM, clusters_Q = np.random.default_rng(1).random((20, 3)), np.arange(20) // 2
    one_cluster_M = paired_randomisation(same_QM, same_QM[::-1], np.zeros(20, dtype=np.int64))

    assert paired_randomisation(same_QM, same_QM, clusters_Q).tolist() == [1, 1, 1]
    assert one_cluster_M.tolist() == [1, 1, 1]


# --- Several tests at once -------------------------------------------------------------------------------------------


def test_holm_multiplies_the_smallest_by_all_and_the_others_by_what_is_left() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9, 0.001])).tolist() == pytest.approx([1, 1, 0.003])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_steps_reject(p: list[float]) -> None:
    adjusted_D = holm(np.array(p))
    for level in (0.01, 0.05, 0.3):
        rejected = []
        for step, value in enumerate(sorted(p)):
            if value * (len(p) - step) > level:
                break
            rejected.append(value)
        assert sorted(np.array(p)[adjusted_D <= level]) == rejected
