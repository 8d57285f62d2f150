"""Several sets as one: each measured by itself, and the mean of what they give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matryoshka.data.mixture import MixedSet
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.gains import gains
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.several_sets import SeveralSets, mean_result
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.evaluation.uncertainty import Floats, Ints, bootstrap_intervals, stratified_intervals
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder

DIMS = [32, 8]


def other_set() -> RetrievalSet:
    """Three queries over four documents, two of which are among the others' texts."""
    texts = small_set()
    corpus = {"d00": "ein wald", "z": texts.corpus["d03"], "a!": texts.corpus["z"], "b": "ein hof am wald"}
    queries = {"q0": "wo ist der wald?", "q1": texts.queries["q3"], "q2": "welcher hof?"}
    return RetrievalSet("others", queries, corpus, {"q0": ["d00"], "q1": ["z"], "q2": ["b"]})


PARTS = {"a": small_set(), "a!": other_set()}
DATA = MixedSet.of("both", PARTS, {})


def results(seed: int) -> dict[str, EvaluationResult]:
    return {name: Evaluator().evaluate(tiny_encoder(seed=seed), part, DIMS) for name, part in PARTS.items()}


@pytest.fixture(scope="module")
def before() -> dict[str, EvaluationResult]:
    return results(0)


@pytest.fixture(scope="module")
def after() -> dict[str, EvaluationResult]:
    return results(1)


def test_joined_texts_are_those_of_the_parts() -> None:
    encoder = tiny_encoder()
    joined = SeveralSets.joined(DATA, {name: TokenizedSet.of(part, encoder.tokenize) for name, part in PARTS.items()})
    whole = TokenizedSet.of(RetrievalSet("w", DATA.queries, DATA.corpus, DATA.grades), encoder.tokenize)

    assert (joined.query_ids, joined.document_ids) == (whole.query_ids, whole.document_ids)
    for ids, rows, expected, expected_rows in (
        (joined.queries, joined.queries_Q, whole.queries, whole.queries_Q),
        (joined.documents, joined.documents_N, whole.documents, whole.documents_N),
    ):
        assert len(ids) == len(expected)
        assert [ids[row] for row in rows.tolist()] == [expected[row] for row in expected_rows.tolist()]
    assert joined.tokens == whole.tokens
    assert joined.named == ("mean over a, a!", DATA.fingerprint)


def test_every_figure_is_the_mean_over_sets_not_over_queries(before: dict[str, EvaluationResult]) -> None:
    mean = mean_result("mean", DATA.fingerprint, before)
    one, other = before.values()
    assert one.queries != other.queries
    for name, value in mean.flat().items():
        if name.partition("/")[0] not in PARTS:
            assert value == pytest.approx((one.value(name) + other.value(name)) / 2)
    assert mean.flat()["a!/ndcg@10/dim_8"] == other.metrics[8]["ndcg@10"]
    assert mean.flat("dev/")["dev/a/merged/ndcg@10/dim_8"] == one.merged[8]["ndcg@10"]
    assert mean.ceiling["accuracy@1"] == pytest.approx((one.ceiling["accuracy@1"] + other.ceiling["accuracy@1"]) / 2)
    assert (mean.queries, mean.documents) == (one.queries + other.queries, one.documents + other.documents)
    assert (mean.data, mean.rankings, mean.fingerprint) == ("mean", None, DATA.fingerprint)
    assert EvaluationResult.from_dict(mean.as_dict()).as_dict() == mean.as_dict()


def by_loop(sets: list[tuple[Floats, Ints]], resamples: int) -> Floats:
    """Means over sets of resampled means over queries, (R, M): each set's clusters drawn one by one."""
    found = np.zeros((resamples, sets[0][0].shape[1]))
    for number, (values_QM, clusters_Q) in enumerate(sets):
        generator = np.random.default_rng(number)
        count = len(np.unique(clusters_Q))
        for resample, drawn in enumerate(generator.integers(count, size=(resamples, count))):
            rows = np.concatenate([np.flatnonzero(clusters_Q == cluster) for cluster in drawn])
            found[resample] += values_QM[rows].mean(axis=0) / len(sets)
    return found


def test_intervals_draw_each_sets_clusters_by_themselves() -> None:
    generator = np.random.default_rng(5)
    sets = [(generator.random((40, 2)), np.arange(40) // 2), (generator.random((90, 2)), np.arange(90))]
    low_M, high_M = stratified_intervals(sets, resamples=300)
    means_RM = by_loop(sets, 300)
    assert np.all(np.quantile(means_RM, 0.005, axis=0) < low_M) and np.all(low_M < np.quantile(means_RM, 0.03, axis=0))
    assert np.all(np.quantile(means_RM, 0.97, axis=0) < high_M) and np.all(
        high_M < np.quantile(means_RM, 0.995, axis=0)
    )
    assert np.array_equal(stratified_intervals(sets[:1]), bootstrap_intervals(*sets[0]))
    assert np.isnan(stratified_intervals([sets[0], (sets[1][0], np.zeros(90, dtype=np.int64))])).all()


def test_the_mean_has_intervals_where_there_are_rankings(before: dict[str, EvaluationResult]) -> None:
    mean = mean_result("mean", DATA.fingerprint, before)
    sets = []
    for part in before.values():
        assert part.rankings
        values_Q = part.rankings.as_is[32].values["ndcg@10"].numpy()
        sets.append((values_Q[:, None], part.rankings.clusters_Q.numpy()))
    low_M, high_M = stratified_intervals(sets)
    assert mean.intervals[32]["ndcg@10"] == pytest.approx((low_M[0], high_M[0]))
    assert (
        mean_result(
            "mean", DATA.fingerprint, {name: replace(part, rankings=None) for name, part in before.items()}
        ).intervals
        == {}
    )


def test_the_gain_is_the_mean_of_the_sets_gains(
    before: dict[str, EvaluationResult], after: dict[str, EvaluationResult]
) -> None:
    found = gains(
        mean_result("mean", DATA.fingerprint, before), mean_result("mean", DATA.fingerprint, after), "ndcg@10"
    )
    each = [gains(before[name], after[name], "ndcg@10") for name in PARTS]
    assert found
    for dim in DIMS:
        assert found.by_dim[dim].value == pytest.approx(np.mean([of.by_dim[dim].value for of in each if of]))
        assert found.by_dim[dim].interval is not None
    assert found.mean.value == pytest.approx(np.mean([of.mean.value for of in each if of]))
    without = {name: replace(part, rankings=None) for name, part in after.items()}
    assert (
        gains(mean_result("mean", DATA.fingerprint, before), mean_result("mean", DATA.fingerprint, without), "ndcg@10")
        is None
    )
