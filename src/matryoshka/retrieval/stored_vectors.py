"""What a search over stored vectors finds, and what that is worth: the parts of `measure_deployment`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from matryoshka.retrieval.coarse_hits import CoarseHits
from matryoshka.retrieval.quantisation import VectorPrecision, decoded, encoded, int8_ranges
from matryoshka.retrieval.ties import Expected, TiedRanks

ORDERS = 32  # of the hits that tie for the last places to be rescored
ROWS = 8192  # documents decoded at once


@dataclass(frozen=True)
class StoredVectors:
    """Documents as they would be stored at any dim and precision. ranges: of each dim, for int8."""

    documents_ND: Tensor
    ranges: Mapping[int, Tensor]

    @classmethod
    def of(cls, documents_ND: Tensor, calibration_MD: Tensor, dims: Sequence[int]) -> StoredVectors:
        """With ranges of calibration_MD."""
        return cls(documents_ND, {dim: int8_ranges(_cut(calibration_MD, dim)) for dim in dims})

    def similarities(self, queries_QD: Tensor, dim: int, precision: VectorPrecision) -> Tensor:
        """Of every query and document, (Q, N), fp32; equal codes are equally similar.

        Dot products of the queries, in float32, and the decoded documents. Between bits, of queries too, a dot product
        is dim - 2 * the Hamming distance.
        """
        ranges_Ed, queries_Qd = self.ranges[dim], _cut(queries_QD, dim)
        if precision == "binary":
            queries_Qd = decoded(encoded(queries_Qd, precision), precision, dim)
        similarities_QN = torch.empty(len(queries_Qd), len(self.documents_ND), device=queries_Qd.device)
        for start in range(0, len(self.documents_ND), ROWS):
            codes_Cd = encoded(_cut(self.documents_ND[start : start + ROWS], dim), precision, ranges_Ed)
            documents_Cd = decoded(codes_Cd, precision, dim, ranges_Ed)
            # In fp64: a product rounds by where a vector stands in it, which fp32 would show.
            similarities_QN[:, start : start + ROWS] = queries_Qd.double() @ documents_Cd.double().T
        return similarities_QN


def _cut(x_ND: Tensor, dim: int) -> Tensor:
    return F.normalize(x_ND[:, :dim].float(), dim=1)


@dataclass(frozen=True)
class Judge:
    """A metric at k. answers_A: query * N + row of every document that answers a query. total_Q: how many each has."""

    expected: Expected
    k: int
    documents: int
    answers_A: Tensor
    total_Q: Tensor

    @classmethod
    def of(cls, relevant: Sequence[Sequence[int]], place_N: Tensor, expected: Expected, k: int) -> Judge:
        """From the documents that answer each query. place_N: the row of each of them among the vectors stored.

        Raises ValueError for a query without an answer.
        """
        answers = [sorted(set(rows)) for rows in relevant]
        if not all(answers):
            raise ValueError("every query needs a relevant document")
        total_Q = torch.tensor([len(rows) for rows in answers])
        query_A = torch.arange(len(answers)).repeat_interleave(total_Q)
        row_A = place_N[torch.tensor([row for rows in answers for row in rows])]
        return cls(expected, k, len(place_N), query_A * len(place_N) + row_A, total_Q)

    def plain(self, hits: CoarseHits, first_query: int) -> Tensor:
        """The value of each query, (Q,), of hits as they are; the queries' numbers start at first_query."""
        relevant_P, first_Qk = self._relevant(hits, first_query), hits.first()
        ranks = TiedRanks.of(
            hits.similarities_P[first_Qk], relevant_P[first_Qk], hits.tied_Q, hits.tied_relevant(relevant_P)
        )
        return self.expected(ranks, self._total(hits, first_query), self.k)

    def rescored(self, hits: CoarseHits, first_query: int, full_QN: Tensor) -> Tensor:
        """The value of each query, (Q,), of the first hits in the order of full_QN."""
        places_QOK = hits.orders(ORDERS)
        full_P = full_QN[hits.queries_P, hits.documents_P]
        full_RK, order_RK = full_P[places_QOK].flatten(0, 1).sort(dim=1, descending=True)
        relevant_RK = self._relevant(hits, first_query)[places_QOK].flatten(0, 1).gather(1, order_RK)
        orders = places_QOK.shape[1]
        total_R = self._total(hits, first_query).repeat_interleave(orders)
        value_R = self.expected(TiedRanks.of(full_RK, relevant_RK), total_R, self.k)
        return value_R.view(-1, orders).mean(1)

    def _relevant(self, hits: CoarseHits, first_query: int) -> Tensor:
        keys_P = (hits.queries_P + first_query) * self.documents + hits.documents_P
        return torch.isin(keys_P, self.answers_A.to(keys_P.device))

    def _total(self, hits: CoarseHits, first_query: int) -> Tensor:
        return self.total_Q[first_query : first_query + len(hits.tied_Q)].to(hits.tied_Q.device)
