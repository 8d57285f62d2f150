"""What a model gained, with paired intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.gains import Gain, gains
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.uncertainty import bootstrap_intervals
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder


@pytest.fixture(scope="module")
def results() -> list[EvaluationResult]:
    return [Evaluator().evaluate(tiny_encoder(seed=seed), small_set(), [32, 8]) for seed in (0, 1)]


def test_gains_are_differences_of_means_with_paired_intervals(results: list[EvaluationResult]) -> None:
    before, after = results
    found = gains(before, after, "ndcg@10")
    assert found and before.rankings and after.rankings

    values = [
        [result.rankings.as_is[dim].values["ndcg@10"].numpy() for dim in (32, 8)]  # type: ignore[union-attr]
        for result in results
    ]
    for i, dim in enumerate((32, 8)):
        expected = after.metrics[dim]["ndcg@10"] - before.metrics[dim]["ndcg@10"]
        assert found.by_dim[dim].value == pytest.approx(expected)
        difference_Q1 = (values[1][i] - values[0][i])[:, None]
        low_1, high_1 = bootstrap_intervals(difference_Q1, before.rankings.clusters_Q.numpy())
        assert found.by_dim[dim].interval == pytest.approx((low_1[0], high_1[0]))
    assert found.mean.value == pytest.approx(np.mean([found.by_dim[dim].value for dim in (32, 8)]))
    assert found.by_dim[found.worst].value == min(gain.value for gain in found.by_dim.values())


def test_without_rankings_nothing_is_said(results: list[EvaluationResult]) -> None:
    assert gains(replace(results[0], rankings=None), results[1], "ndcg@10") is None


def test_a_gain_is_shown_where_its_interval_leaves_out_0() -> None:
    assert Gain(0.01, (0.002, 0.018)).shown
    assert not Gain(0.01, (-0.001, 0.02)).shown
    assert not Gain(0.01, None).shown
    assert str(Gain(0.0123, (-0.001, 0.02))) == "+.012 (-.001 to +.020)"
