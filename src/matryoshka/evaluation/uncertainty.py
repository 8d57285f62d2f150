"""How far a mean over queries may be from what other queries would give, and whether two models differ."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from matryoshka.data.copies import components

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AT_ONCE = 4_000_000  # numbers drawn at once: some 100 MB


def clusters(relevant: Mapping[str, Iterable[Hashable]] | Iterable[Iterable[Hashable]]) -> Ints:
    """The cluster of each query, (Q,), numbered in order of first appearance.

    relevant: the documents that answer each query, by id or number. Queries that share an answer, directly or over
    other queries, are one cluster: a model that does well with one of them tends to do well with all.
    """
    groups = components(list(relevant.values() if isinstance(relevant, Mapping) else relevant))
    clusters_Q = np.empty(sum(map(len, groups)), dtype=np.int64)
    for cluster, queries in enumerate(groups):
        clusters_Q[queries] = cluster
    return clusters_Q


def bootstrap_intervals(
    values_QM: Floats, clusters_Q: Ints, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[Floats, Floats]:
    """The ends (low_M, high_M) of an interval of the mean over queries, for each of M columns.

    Whole clusters are drawn with replacement, the same for every column, and the mean is taken anew; the interval is
    between two percentiles of these means, a little further out than (1 - level) / 2 where clusters are few. Of less
    than two clusters nothing is known: NaN. Sources: Field & Welsh 2007, "Bootstrapping clustered data", JRSS B 69;
    Hesterberg 2014, arXiv:1411.5279 (the percentiles).
    """
    return stratified_intervals([(values_QM, clusters_Q)], resamples, seed, level)


def stratified_intervals(
    sets: Sequence[tuple[Floats, Ints]], resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[Floats, Floats]:
    """The same of the mean over sets, each of which counts alike, of the means over their queries.

    sets: values_QM and clusters_Q of each. Clusters are drawn within each set, independently, as many as it has: the
    sets are those that are meant, the queries a sample. Where a set has less than two clusters nothing is known: NaN.
    Source: Davison & Hinkley 1997, "Bootstrap Methods and their Application", 3.2 (several samples).
    """
    # Equal values are exactly 0 from a set's origin, so that they give exactly one point.
    origins = [values_QM[:1].sum(axis=0) for values_QM, _ in sets]
    groups = [_by_cluster(of[0] - origin_M, of[1]) for of, origin_M in zip(sets, origins, strict=True)]
    counts, origin_M = [len(sizes_C) for _, sizes_C in groups], sum(origins) / len(sets)
    if min(counts) < 2:
        return np.full(len(origin_M), np.nan), np.full(len(origin_M), np.nan)
    means_RM = sum(_resampled(*of, resamples, seed + place) for place, of in enumerate(groups)) / len(sets)
    tail = _tail((1 - level) / 2, *counts)
    low_M, high_M = np.quantile(means_RM, [tail, 1 - tail], axis=0)
    return origin_M + low_M, origin_M + high_M


def _resampled(sums_CM: Floats, sizes_C: Floats, resamples: int, seed: int) -> Floats:
    """The mean over queries in each resample of the clusters, (R, M)."""
    draws = _draws(len(sizes_C), resamples, seed)
    return np.concatenate([(times_RC @ sums_CM) / (times_RC @ sizes_C)[:, None] for times_RC in draws])


def paired_randomisation(
    first_QM: Floats, second_QM: Floats, clusters_Q: Ints, permutations: int = 10_000, seed: int = 0
) -> Floats:
    """The two-sided p of equal means over queries, (M,): how often chance alone makes a difference at least as large.

    If both models are equally good it does not matter which of a cluster's two sets of values is called the first: the
    names are exchanged by coin, a cluster at a time, the same for every column. The names as they are count too, so no
    p is 0. Sources: Smucker, Allan & Carterette 2007, "A comparison of statistical significance tests for information
    retrieval evaluation", CIKM; Sakai 2018, "Laboratory Experiments in Information Retrieval", Springer.
    """
    sums_CM, sizes_C = _by_cluster(second_QM - first_QM, clusters_Q)
    # Sums in another order round otherwise: what misses the difference by that alone has reached it.
    wanted_M = np.abs(sums_CM.sum(axis=0)) - 1e-10 * np.abs(sums_CM).sum(axis=0)
    generator = np.random.default_rng(seed)
    reached_M = np.zeros(sums_CM.shape[1], dtype=np.int64)
    for rows in _chunks(permutations, len(sizes_C)):
        signs_PC = 2.0 * generator.integers(2, size=(rows, len(sizes_C))) - 1
        reached_M += (np.abs(signs_PC @ sums_CM) >= wanted_M).sum(axis=0)
    return (1.0 + reached_M) / (1 + permutations)


def holm(p_D: Floats) -> Floats:
    """The p values adjusted for their number: to call those below .05 real errs once at all in 5% of such families.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    order_D = np.argsort(p_D, kind="stable")
    steps_D = np.arange(len(p_D), 0, -1) * p_D[order_D]
    adjusted_D = np.empty(len(p_D))
    adjusted_D[order_D] = np.minimum(np.maximum.accumulate(steps_D), 1)
    return adjusted_D


def _by_cluster(values_QM: Floats, clusters_Q: Ints) -> tuple[Floats, Floats]:
    """The sums over each cluster's queries, (C, M), and how many these are, (C,)."""
    order_Q = np.argsort(clusters_Q, kind="stable")
    _, starts_C, sizes_C = np.unique(clusters_Q[order_Q], return_index=True, return_counts=True)
    return np.add.reduceat(values_QM[order_Q], starts_C, axis=0), sizes_C.astype(np.float64)


def _draws(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn in each resample, (R, C), in chunks of resamples."""
    generator = np.random.default_rng(seed)
    for rows in _chunks(resamples, clusters):
        drawn_RC = generator.integers(clusters, size=(rows, clusters)) + clusters * np.arange(rows)[:, None]
        times = np.bincount(drawn_RC.ravel(), minlength=rows * clusters)
        yield times.reshape(rows, clusters).astype(np.float64)


def _chunks(total: int, width: int) -> Iterator[int]:
    """Numbers of rows that add up to the total, each so that rows x width are few enough for the memory."""
    rows = max(1, AT_ONCE // width)
    yield from (min(rows, total - start) for start in range(0, total, rows))


def _tail(tail: float, *clusters: int) -> float:
    """The share of resamples to leave out at each end. clusters: of each set, C.

    Resampled means spread by a factor of root (C - 1) / C too little, and a normal distribution has lighter tails than
    Student's t, whose quantile is expanded in 1 / (C - 1) here. Nothing of it matters for hundreds of clusters. Of
    several sets the squared factors are averaged and the C - 1 added up: exact where all vary alike.
    """
    freedom, widening = sum(clusters) - len(clusters), sum(count / (count - 1) for count in clusters) / len(clusters)
    z = NormalDist().inv_cdf(tail)
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return NormalDist().cdf(t * math.sqrt(widening))
