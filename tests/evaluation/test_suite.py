"""The mean over several sets and the worst of them, against plain sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.suite import SuiteResult
from matryoshka.evaluation.uncertainty import stratified_intervals
from tests.evaluation.planted import planted_result

DIMS = (32, 8)


@pytest.fixture(scope="module")
def sets() -> dict[str, EvaluationResult]:
    """Of unequal sizes; one has grades, one copies."""
    return {
        "wide": planted_result(40, 160, DIMS, seed=1),
        "graded": planted_result(10, 120, DIMS, seed=2, graded=True),
        "copied": planted_result(25, 130, DIMS, seed=3, copies=20),
    }


def test_the_mean_is_of_the_sets_not_of_the_queries(sets: dict[str, EvaluationResult]) -> None:
    suite = SuiteResult.of(sets, {"gone": "not there"})
    mean = suite.mean

    assert (mean.data, mean.queries, mean.documents, mean.copies) == ("3 sets", 75, 410, 20)
    for dim in DIMS:
        for name, value in mean.metrics[dim].items():
            for ours, part in (
                (value, "metrics"),
                (mean.merged[dim][name], "merged"),
                (mean.expected[dim][name], "expected"),
            ):
                assert ours == pytest.approx(sum(getattr(of, part)[dim][name] for of in sets.values()) / 3, abs=1e-15)
        assert suite.worst("ndcg@10", dim) == min(sets, key=lambda name: sets[name].metrics[dim]["ndcg@10"])
    assert mean.value("ndcg@10/worst") == min(mean.metrics[dim]["ndcg@10"] for dim in DIMS)
    by_query = sum(of.queries * of.metrics[32]["ndcg@10"] for of in sets.values()) / 75
    assert mean.metrics[32]["ndcg@10"] != pytest.approx(by_query, abs=1e-3)
    assert dict(suite.missing) == {"gone": "not there"}
    assert EvaluationResult.from_dict(mean.as_dict()) == mean


def test_intervals_are_drawn_within_each_set(sets: dict[str, EvaluationResult]) -> None:
    mean = SuiteResult.of(sets).mean
    for intervals, protocol in ((mean.intervals, "as_is"), (mean.merged_intervals, "merged")):
        for dim in DIMS:
            values = [
                (getattr(of.rankings, protocol)[dim].values["mrr@10"].numpy()[:, None], of.rankings.clusters_Q.numpy())  # type: ignore[union-attr]
                for _, of in sorted(sets.items())
            ]
            expected = np.stack(stratified_intervals(values))[:, 0]
            np.testing.assert_allclose(intervals[dim]["mrr@10"], expected, rtol=1e-12)


def test_the_order_of_sets_changes_no_figure(sets: dict[str, EvaluationResult]) -> None:
    other = SuiteResult.of(dict(reversed(sets.items())))

    assert other.mean == SuiteResult.of(sets).mean
    assert list(other.sets) == list(reversed(sets))


def test_a_suite_of_one_is_the_set(sets: dict[str, EvaluationResult]) -> None:
    mean, alone = SuiteResult.of({"graded": sets["graded"]}).mean, sets["graded"]

    assert (mean.metrics, mean.intervals, mean.merged_intervals) == (
        alone.metrics,
        alone.intervals,
        alone.merged_intervals,
    )


def test_without_rankings_there_are_no_intervals(sets: dict[str, EvaluationResult]) -> None:
    suite = SuiteResult.of({**sets, "wide": replace(sets["wide"], rankings=None)})

    assert suite.mean.intervals == suite.mean.merged_intervals == {}
    assert suite.mean.metrics == SuiteResult.of(sets).mean.metrics
