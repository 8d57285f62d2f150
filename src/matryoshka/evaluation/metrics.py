"""Retrieval metrics over ranked hits, as torchmetrics. Pure functions first, a thin Metric of each, such as NDCG(k=10).

Each function takes grade_Qk (of the hit at each rank; relevant is what has one above 0) and all_QR (the grades of all
documents that are relevant to the query, the highest first, 0 behind the last), numbers or bool, and gives one number a
query. nDCG takes grades for gains, as trec_eval does; to the others relevant is relevant. Every metric is the mean over
queries. If fewer than k documents exist, the missing ranks count as not relevant. Definitions: Järvelin & Kekäläinen
2002; sentence-transformers' evaluator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

PerQuery = Callable[[Tensor, Tensor, int], Tensor]


def accuracy(grade_Qk: Tensor, all_QR: Tensor, k: int) -> Tensor:
    """1 where any of the first k hits is relevant."""
    return _relevant(grade_Qk, k).amax(1)


def precision(grade_Qk: Tensor, all_QR: Tensor, k: int) -> Tensor:
    """Relevant hits among the first k, divided by k."""
    return _relevant(grade_Qk, k).sum(1) / k


def recall(grade_Qk: Tensor, all_QR: Tensor, k: int) -> Tensor:
    """Relevant hits among the first k, divided by all relevant documents."""
    return _relevant(grade_Qk, k).sum(1) / total(all_QR)


def mrr(grade_Qk: Tensor, all_QR: Tensor, k: int) -> Tensor:
    """1 / rank of the first relevant hit among the first k, else 0."""
    relevant_Qk = _relevant(grade_Qk, k)
    return (relevant_Qk / _ranks(relevant_Qk)).amax(1)


def ndcg(grade_Qk: Tensor, all_QR: Tensor, k: int) -> Tensor:
    """Discounted gain, grade / log2(rank + 1), of the first k hits, divided by that of the k highest grades."""
    top_Qk = grade_Qk[:, :k].double()
    return (top_Qk / torch.log2(_ranks(top_Qk) + 1)).sum(1) / ideal_gain(all_QR, k)


def average_precision(grade_Qk: Tensor, all_QR: Tensor, k: int) -> Tensor:
    """Precision at the rank of each relevant hit, summed, divided by min(k, all relevant documents)."""
    relevant_Qk = _relevant(grade_Qk, k)
    precision_Qk = relevant_Qk.cumsum(1) / _ranks(relevant_Qk)
    return (precision_Qk * relevant_Qk).sum(1) / total(all_QR).clamp(max=k)


def ideal_gain(all_QR: Tensor, k: int) -> Tensor:
    """The discounted gain of the k highest grades, the highest first, (Q,)."""
    discount_K = torch.log2(torch.arange(2, k + 2, device=all_QR.device).double())
    return (all_QR[:, :k].double() / discount_K[: all_QR.shape[1]]).cumsum(1)[:, -1]


def total(all_QR: Tensor) -> Tensor:
    """How many documents are relevant to each query, (Q,)."""
    return (all_QR > 0).sum(1)


def _relevant(grade_Qk: Tensor, k: int) -> Tensor:
    """1 where one of the first k hits is relevant, else 0."""
    return (grade_Qk[:, :k] > 0).double()


def _ranks(top_Qk: Tensor) -> Tensor:
    return torch.arange(1, top_Qk.shape[1] + 1, device=top_Qk.device).double()


class RankedMetric(Metric):
    """The mean of a per-query function over all queries seen; sums and counts add up across processes."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    queries: Tensor

    def __init__(self, per_query: PerQuery, k: int, **options: Any) -> None:
        super().__init__(**options)
        if k < 1:
            raise ValueError(f"k={k}: at least one rank is needed")
        self.per_query = per_query
        self.k = k
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("queries", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, grade_Qk: Tensor, all_QR: Tensor) -> None:
        """Count more queries. Raises ValueError if one has no relevant document: it has no place in a mean."""
        if bool((total(all_QR) < 1).any()):
            raise ValueError("every query needs a relevant document")
        self.total += self.per_query(grade_Qk, all_QR, self.k).sum()
        self.queries += len(all_QR)

    def compute(self) -> Tensor:
        """The mean over queries, fp64."""
        return self.total / self.queries


Accuracy = partial(RankedMetric, accuracy)
Precision = partial(RankedMetric, precision)
Recall = partial(RankedMetric, recall)
MRR = partial(RankedMetric, mrr)
NDCG = partial(RankedMetric, ndcg)
MAP = partial(RankedMetric, average_precision)
