"""What a learning curve says follows from its values by the rules that the documentation tells."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from matryoshka.evaluation.learning_curve import LearningCurve, learning_curve
from matryoshka.evaluation.uncertainty import Floats, bootstrap_intervals

DIMS = [64, 32, 16]
QUERIES = 200
SHARES = {0.25: 100, 0.5: 200, 1.0: 400}


def values(levels_SD: list[list[float]], noise: float = 0.0) -> Floats:
    """Queries spread around a level for each share and dim, in the same way for all, plus noise of their own."""
    generator = np.random.default_rng(0)
    own_Q = generator.uniform(-0.2, 0.2, QUERIES)
    of_SQD = np.asarray(levels_SD)[:, None, :] + (own_Q - own_Q.mean())[None, :, None]
    noise_SQD = noise * generator.standard_normal(of_SQD.shape)
    return of_SQD + noise_SQD - noise_SQD.mean(axis=1, keepdims=True)


def curve_of(levels_SD: list[list[float]], noise: float = 0.0, clusters: int = QUERIES) -> LearningCurve:
    return learning_curve("ndcg@10", SHARES, DIMS, values(levels_SD, noise), np.arange(QUERIES) % clusters)


RISING = [[0.60, 0.55, 0.40], [0.65, 0.60, 0.45], [0.70, 0.65, 0.50]]
NARROW = [[0.60, 0.50, 0.40], [0.70, 0.68, 0.50], [0.70, 0.68, 0.50]]
FLAT = [[0.60, 0.50, 0.40], [0.70, 0.69, 0.68], [0.70, 0.69, 0.68]]


@pytest.mark.parametrize(
    ("levels", "noise", "verdict"),
    [
        (RISING, 0.1, "more pairs"),  # though narrow dims keep little as well
        (RISING, 2.0, "neither"),  # the same rise, which noise could make, as it could the loss of narrow dims
        (NARROW, 0.1, "wider dims"),
        (FLAT, 0.1, "neither"),
        ([RISING[2], RISING[1], RISING[0]], 0.1, "wider dims"),  # a loss is no gain
    ],
)
def test_the_verdict_follows_the_rules(levels: list[list[float]], noise: float, verdict: str) -> None:
    curve = curve_of(levels, noise)
    assert curve.verdict == verdict
    assert curve.finding.startswith(f"{verdict}: ") and "\n" not in curve.finding


def test_the_rules_are_read_off_paired_intervals() -> None:
    of_SQD, clusters_Q = values(RISING, 0.1), np.arange(QUERIES) // 2
    curve = learning_curve("ndcg@10", SHARES, DIMS, of_SQD, clusters_Q)
    gain_Q = of_SQD[2].mean(axis=1) - of_SQD[1].mean(axis=1)
    low, high = bootstrap_intervals(gain_Q[:, None], clusters_Q)
    assert curve.last.value == pytest.approx(gain_Q.mean()) == pytest.approx(0.05)
    assert curve.last.interval == (pytest.approx(low[0]), pytest.approx(high[0]))
    low, high = bootstrap_intervals(of_SQD[2, :, 2:] - of_SQD[2, :, :1], clusters_Q)
    assert curve.cut.interval == (pytest.approx(low[0]), pytest.approx(high[0]))


def test_each_point_has_its_values_and_intervals() -> None:
    of_SQD = values(RISING, 0.1)
    curve = learning_curve("ndcg@10", SHARES, DIMS, of_SQD, np.arange(QUERIES))
    low_D, high_D = bootstrap_intervals(of_SQD[1], np.arange(QUERIES))
    point = curve.points[1]
    assert (point.share, point.pairs, point.mean) == (0.5, 200, pytest.approx(of_SQD[1].mean()))
    assert point.values == {dim: pytest.approx(of_SQD[1, :, i].mean()) for i, dim in enumerate(DIMS)}
    assert point.intervals == {dim: (low_D[i], high_D[i]) for i, dim in enumerate(DIMS)}


def test_another_doubling_is_expected_to_give_what_a_doubling_gave_last() -> None:
    assert curve_of(RISING).next_doubling == pytest.approx(0.05)
    shares = {0.1: 100, 1.0: 1600}  # four doublings
    wide = learning_curve("ndcg@10", shares, DIMS, values([RISING[0], RISING[2]]), np.arange(QUERIES))
    assert wide.next_doubling == pytest.approx(0.1 / 4)
    assert "another doubling gives about +0.025" in wide.finding


def test_dims_that_keep_too_little_are_named() -> None:
    curve = curve_of(NARROW, 0.1)
    assert curve.kept == {64: 1.0, 32: pytest.approx(0.68 / 0.7), 16: pytest.approx(0.5 / 0.7)}
    assert curve.narrow == [16]
    assert "16 keep 71.4%" in curve.finding and "32 keep" not in curve.finding
    assert "16 numbers keep 97.1% of 64's" in curve_of(FLAT, 0.1).finding


@pytest.mark.parametrize("change", [lambda x_SQD: x_SQD[:, :, :1], lambda x_SQD: 0 * x_SQD])
def test_one_dim_and_nothing_found_are_no_reason_for_wider_dims(change: Callable[[Floats], Floats]) -> None:
    of_SQD = change(values(NARROW))
    curve = learning_curve("ndcg@10", SHARES, DIMS[: of_SQD.shape[2]], of_SQD, np.arange(QUERIES))
    assert curve.verdict == "neither"


def test_queries_that_all_share_answers_tell_nothing() -> None:
    curve = curve_of(RISING, clusters=1)
    assert curve.last.interval is None and curve.points[0].intervals[64] is None
    assert curve.verdict == "neither"
    assert "no interval" in curve.finding


def test_it_is_written_as_json() -> None:
    plain = json.loads(json.dumps(curve_of(NARROW, 0.1).as_dict()))
    assert plain["verdict"] == "wider dims" and plain["narrow_dims"] == [16]
    assert plain["points"][2]["values"]["64"] == pytest.approx(0.7)
    assert len(plain["points"][2]["intervals"]["16"]) == 2
    assert plain["kept"]["64"] == 1.0 and plain["metric"] == "ndcg@10"
