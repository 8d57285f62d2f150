"""What a retriever found, measured: both protocols, ties, ceiling, intervals, and every query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MetricCollection

from matryoshka.evaluation.intervals import metric_intervals
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.metrics import RankedMetric
from matryoshka.evaluation.nearest import Hits
from matryoshka.evaluation.protocols import CopyGroups, Ranking, Rankings
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.ties import EXPECTED, TiedRanks

QUERY_CHUNK = 512  # queries whose hits are spread over all copies at once
TIES = 10_000  # texts a query at most that are searched for those as similar as the last hit
MeasuredBy = Mapping[str, RankedMetric]


class AskAgain(Protocol):
    """Asks a retriever again."""

    def __call__(self, rows_M: Tensor, dim: int, k: int) -> Hits:
        """The k best texts at the dim for the queries of these rows."""


def measure(
    model: str, copies: CopyGroups, hits: Mapping[int, Hits], search: AskAgain, metrics: MeasuredBy
) -> EvaluationResult:
    """Every metric of what a retriever found, dim -> hits: of each query the first `asked_for(copies, metrics)` texts.

    search: (rows of queries, dim, k) -> their k best texts; for queries whose last hit is tied with what follows.
    """
    judgements = copies.judgements
    found = {dim: _rank(copies, hits[dim], partial(search, dim=dim), metrics) for dim in hits}
    as_is, merged = {dim: of.as_is for dim, of in found.items()}, {dim: of.merged for dim, of in found.items()}
    intervals, merged_intervals = metric_intervals([([as_is, merged], judgements.clusters_Q)])
    return EvaluationResult(
        model=model,
        data=judgements.data.name,
        queries=len(judgements.query_ids),
        documents=len(judgements.document_ids),
        width=max(hits),
        metrics={dim: _means(ranking, judgements, metrics, merged=False) for dim, ranking in as_is.items()},
        merged={dim: _means(ranking, judgements, metrics, merged=True) for dim, ranking in merged.items()},
        expected={dim: of.expected for dim, of in found.items()},
        ceiling=_perfect(judgements, metrics),
        merged_ceiling=_perfect_merged(judgements, metrics),
        intervals=intervals,
        merged_intervals=merged_intervals,
        copies=judgements.copies,
        clusters=len(judgements.clusters_Q.unique()),
        fingerprint=judgements.data.fingerprint,
        rankings=Rankings(
            judgements.data,
            list(judgements.query_ids),
            list(judgements.document_ids),
            as_is,
            merged,
            judgements.clusters_Q,
            judgements.copy_of_N,
        ),
    )


def depth(metrics: MeasuredBy) -> int:
    """How many documents a query the metrics look at."""
    return max(metric.k for metric in metrics.values())


@dataclass(frozen=True)
class _RankedDim:
    """One dim's rankings under both protocols, and the expectation over ties as is."""

    as_is: Ranking
    merged: Ranking
    expected: dict[str, float]


def asked_for(copies: CopyGroups, metrics: MeasuredBy) -> int:
    """How many texts are to be found: one more than is needed tells whether the last needed one is tied."""
    return copies.depth(depth(metrics)) + 1


def _rank(copies: CopyGroups, hits: Hits, search: Callable[..., Hits], metrics: MeasuredBy) -> _RankedDim:
    judgements, k = copies.judgements, min(depth(metrics), len(copies.unit_of_N))
    as_is, merged, expected = list[Hits](), list[Hits](), []
    for queries_Q in torch.arange(len(hits.documents_Qk)).split(QUERY_CHUNK):
        found = Hits(hits.documents_Qk[queries_Q], hits.similarities_Qk[queries_Q])
        spread = copies.spread(found, k)
        ranks = _tied_ranks(copies, found, spread, queries_Q, k, search)
        expected.append(_expected(ranks, judgements.all_grades(merged=False)[queries_Q], metrics))
        as_is.append(Hits(spread.documents_Qk[:, :k], spread.similarities_Qk[:, :k]))
        if not copies.one_to_one:
            merged.append(copies.merge(spread, k))
    ranking = _ranking(_whole(as_is), judgements, metrics, merged=False)
    return _RankedDim(
        as_is=ranking,
        merged=_ranking(_whole(merged), judgements, metrics, merged=True) if merged else ranking,
        expected=_means_of(expected),
    )


def _tied_ranks(
    copies: CopyGroups, found: Hits, spread: Hits, queries_Q: Tensor, k: int, search: Callable[..., Hits]
) -> TiedRanks:
    """The groups of equally similar documents at the first k ranks, whole even where they reach beyond the hits."""

    def ranks_of(documents: Hits, queries: Tensor) -> TiedRanks:
        grade_QK = copies.judgements.grades(documents.documents_Qk, queries, merged=False)
        return TiedRanks.of(documents.similarities_Qk, grade_QK).first(k)

    ranks, last_Q = ranks_of(spread, queries_Q), found.similarities_Qk[:, -1]
    cut_M = (torch.isfinite(last_Q) & (spread.similarities_Qk[:, k - 1] == last_Q)).nonzero()[:, 0]
    if len(cut_M) and found.documents_Qk.shape[1] < copies.units:
        more = copies.spread(search(queries_Q[cut_M], k=min(TIES, copies.units)), k)
        ranks = ranks.with_rows(cut_M, ranks_of(more, queries_Q[cut_M]))
    return ranks


def _whole(parts: list[Hits]) -> Hits:
    return Hits(torch.cat([part.documents_Qk for part in parts]), torch.cat([part.similarities_Qk for part in parts]))


def _ranking(hits: Hits, judgements: Judgements, metrics: MeasuredBy, *, merged: bool) -> Ranking:
    grade_Qk, all_QR = _graded(hits, judgements, merged=merged)
    relevant_Qk = grade_Qk > 0
    first_hit_Q = torch.where(relevant_Qk.any(1), relevant_Qk.int().argmax(1) + 1, 0)
    values = {name: metric.per_query(grade_Qk, all_QR, metric.k) for name, metric in metrics.items()}
    return Ranking(hits.documents_Qk, hits.similarities_Qk, relevant_Qk, first_hit_Q, values)


def _graded(found: Hits | Ranking, judgements: Judgements, *, merged: bool) -> tuple[Tensor, Tensor]:
    """The grades of every query's hits and of all its answers: what a metric is computed from."""
    queries_Q = torch.arange(len(found.documents_Qk))
    return judgements.grades(found.documents_Qk, queries_Q, merged=merged), judgements.all_grades(merged=merged)


def _expected(ranks: TiedRanks, all_QR: Tensor, metrics: MeasuredBy) -> dict[str, Tensor]:
    return {name: EXPECTED[name.partition("@")[0]](ranks, all_QR, metric.k) for name, metric in metrics.items()}


def _perfect(judgements: Judgements, metrics: MeasuredBy) -> dict[str, float]:
    """A retriever that finds the right texts first, in the order that each metric likes best."""

    def values(*, graded: bool) -> dict[str, float]:
        ranks = judgements.perfect(depth(metrics), graded=graded)
        return _means_of([_expected(ranks, judgements.all_grades(merged=False), metrics)])

    plain = values(graded=False)
    if not judgements.data.graded:
        return plain
    graded = values(graded=True)
    return {name: (graded if name.startswith("ndcg") else plain)[name] for name in metrics}


def _perfect_merged(judgements: Judgements, metrics: MeasuredBy) -> dict[str, float]:
    """A retriever that finds the merged answers first: there is nothing that it could not tell apart."""
    all_QR = judgements.all_grades(merged=True)
    top_Qk = F.pad(all_QR, (0, depth(metrics)))[:, : depth(metrics)]
    return {name: float(metric.per_query(top_Qk, all_QR, metric.k).mean()) for name, metric in metrics.items()}


def _means_of(parts: list[dict[str, Tensor]]) -> dict[str, float]:
    return {name: float(torch.cat([part[name] for part in parts]).mean()) for name in parts[0]}


def _means(ranking: Ranking, judgements: Judgements, metrics: MeasuredBy, *, merged: bool) -> dict[str, float]:
    collection = MetricCollection(dict(metrics), compute_groups=False)
    collection.reset()
    collection.update(*_graded(ranking, judgements, merged=merged))
    values = collection.compute()
    return {name: float(values[name]) for name in metrics}
