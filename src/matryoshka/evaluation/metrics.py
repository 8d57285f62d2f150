"""Retrieval metrics over ranked hits, as torchmetrics. Pure functions first, thin Metric classes around them.

Each function takes relevant_Qk (bool: is the hit at this rank relevant) and total_Q (how many relevant documents the
query has) and gives one number a query. Every metric is the mean over queries. If fewer than k documents exist, the
missing ranks count as not relevant. Definitions: Järvelin & Kekäläinen 2002; sentence-transformers' evaluator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

PerQuery = Callable[[Tensor, Tensor, int], Tensor]


def accuracy(relevant_Qk: Tensor, total_Q: Tensor, k: int) -> Tensor:
    """1 where any of the first k hits is relevant."""
    return relevant_Qk[:, :k].any(1).double()


def precision(relevant_Qk: Tensor, total_Q: Tensor, k: int) -> Tensor:
    """Relevant hits among the first k, divided by k."""
    return relevant_Qk[:, :k].sum(1).double() / k


def recall(relevant_Qk: Tensor, total_Q: Tensor, k: int) -> Tensor:
    """Relevant hits among the first k, divided by all relevant documents."""
    return relevant_Qk[:, :k].sum(1).double() / total_Q


def mrr(relevant_Qk: Tensor, total_Q: Tensor, k: int) -> Tensor:
    """1 / rank of the first relevant hit among the first k, else 0."""
    top_Qk = relevant_Qk[:, :k]
    return (top_Qk.double() / _ranks(top_Qk)).amax(1)


def ndcg(relevant_Qk: Tensor, total_Q: Tensor, k: int) -> Tensor:
    """Discounted gain 1 / log2(rank + 1) of relevant hits, divided by that of min(total, k) hits at the top."""
    top_Qk = relevant_Qk[:, :k]
    gain_Q = (top_Qk.double() / torch.log2(_ranks(top_Qk) + 1)).sum(1)
    return gain_Q / ideal_gain(total_Q, k)


def ideal_gain(total_Q: Tensor, k: int) -> Tensor:
    """The discounted gain of min(total, k) relevant hits at the top, (Q,)."""
    ideal_K = (1 / torch.log2(torch.arange(2, k + 2, device=total_Q.device).double())).cumsum(0)
    return ideal_K[total_Q.clamp(max=k) - 1]


def average_precision(relevant_Qk: Tensor, total_Q: Tensor, k: int) -> Tensor:
    """Precision at the rank of each relevant hit, summed, divided by min(k, total)."""
    top_Qk = relevant_Qk[:, :k].double()
    precision_Qk = top_Qk.cumsum(1) / _ranks(top_Qk)
    return (precision_Qk * top_Qk).sum(1) / total_Q.clamp(max=k)


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

    def update(self, relevant_Qk: Tensor, total_Q: Tensor) -> None:
        """Count more queries. Raises ValueError if one has no relevant document: it has no place in a mean."""
        if bool((total_Q < 1).any()):
            raise ValueError("every query needs a relevant document")
        self.total += self.per_query(relevant_Qk, total_Q, self.k).sum()
        self.queries += len(total_Q)

    def compute(self) -> Tensor:
        """The mean over queries, fp64."""
        return self.total / self.queries


class Accuracy(RankedMetric):
    """Share of queries with a relevant document among the first k."""

    def __init__(self, k: int, **options: Any) -> None:
        super().__init__(accuracy, k, **options)


class Precision(RankedMetric):
    """Mean share of relevant documents among the first k."""

    def __init__(self, k: int, **options: Any) -> None:
        super().__init__(precision, k, **options)


class Recall(RankedMetric):
    """Mean share of a query's relevant documents that are among the first k."""

    def __init__(self, k: int, **options: Any) -> None:
        super().__init__(recall, k, **options)


class MRR(RankedMetric):
    """Mean reciprocal rank of the first relevant document among the first k."""

    def __init__(self, k: int, **options: Any) -> None:
        super().__init__(mrr, k, **options)


class NDCG(RankedMetric):
    """Mean normalised discounted cumulative gain at k, binary relevance."""

    def __init__(self, k: int, **options: Any) -> None:
        super().__init__(ndcg, k, **options)


class MAP(RankedMetric):
    """Mean average precision at k."""

    def __init__(self, k: int, **options: Any) -> None:
        super().__init__(average_precision, k, **options)
