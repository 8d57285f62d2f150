"""The first hits of a search whose similarities tie often, as those of short codes do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CoarseHits:
    """The k most similar documents of each query, and all that are as similar as the last of them.

    documents_P, similarities_P, queries_P: rows of documents, query by query, by descending similarity, then by row.
    above_Q: how many of a query's are more similar than its k-th. tied_Q: how many are as similar as that one.
    """

    k: int
    documents_P: Tensor
    similarities_P: Tensor
    queries_P: Tensor
    above_Q: Tensor
    tied_Q: Tensor

    @classmethod
    def of(cls, k: int, queries: int, query_P: Tensor, document_P: Tensor, similarity_P: Tensor) -> CoarseHits:
        """From pairs, by ascending row for each query, at least those that belong here, k or more of each query."""
        order_P = similarity_P.argsort(descending=True, stable=True)
        order_P = order_P[query_P[order_P].argsort(stable=True)]
        query_P, document_P, similarity_P = query_P[order_P], document_P[order_P], similarity_P[order_P]
        count_Q = query_P.bincount(minlength=queries)
        last_P = similarity_P[count_Q.cumsum(0) - count_Q + k - 1][query_P]
        above_Q = query_P[similarity_P > last_P].bincount(minlength=queries)
        tied_Q = query_P[similarity_P == last_P].bincount(minlength=queries)
        kept_P = similarity_P >= last_P
        return cls(k, document_P[kept_P], similarity_P[kept_P], query_P[kept_P], above_Q, tied_Q)

    @property
    def starts_Q(self) -> Tensor:
        """Where each query's documents start."""
        count_Q = self.above_Q + self.tied_Q
        return count_Q.cumsum(0) - count_Q

    def first(self) -> Tensor:
        """Places of the first k of each query, (Q, k)."""
        return self.starts_Q[:, None] + torch.arange(self.k, device=self.starts_Q.device)

    def orders(self, count: int) -> Tensor:
        """Places of the first k of each query in `count` orders of the last ones, (Q, count, k).

        Which of those that tie come in differs: as many in turn as there is room for, starting at `count` equal
        distances. So each comes in as often as by chance, up to 1 / count, provided that rows are in random order. One
        order is enough where nothing is left out.
        """
        count = count if bool((self.above_Q + self.tied_Q > self.k).any()) else 1
        slot_K = torch.arange(self.k, device=self.above_Q.device)
        turn_O1 = torch.arange(count, device=self.above_Q.device)[:, None]
        starts_QOK, above_QOK, tied_QOK = (x_Q[:, None, None] for x_Q in (self.starts_Q, self.above_Q, self.tied_Q))
        turned_QOK = (turn_O1 * tied_QOK // count + slot_K - above_QOK) % tied_QOK
        return starts_QOK + torch.where(slot_K < above_QOK, slot_K, above_QOK + turned_QOK)

    def tied_grades(self, grade_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the documents as similar as the k-th: how many there are, how many are relevant, their grades' sum."""
        last_P = self.similarities_P == self.similarities_P[self.first()[:, -1]][self.queries_P]
        last_P &= grade_P > 0
        zeros_Q, queries_L = torch.zeros_like(self.tied_Q), self.queries_P[last_P]
        relevant_Q = queries_L.bincount(minlength=len(zeros_Q))
        return self.tied_Q, relevant_Q, zeros_Q.index_add(0, queries_L, grade_P[last_P])
