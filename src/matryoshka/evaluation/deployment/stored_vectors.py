"""What a search over stored vectors finds, and what that is worth: the parts of `measure_deployment`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from matryoshka.evaluation.deployment.quantisation import VectorPrecision, decoded, encoded, int8_ranges
from matryoshka.evaluation.deployment.tied_hits import CoarseHits
from matryoshka.evaluation.judgements import Grades
from matryoshka.evaluation.nearest import PIECE, error_bound
from matryoshka.evaluation.ties import Expected, TiedRanks

ORDERS = 32  # of the hits that tie for the last places to be rescored
ROWS = 8192  # documents encoded and searched at once
GROUPS = 512  # of a part's documents, whose largest similarities tell about how large the k-th is


@dataclass(frozen=True)
class StoredVectors:
    """Documents as they would be stored at any dim and precision. ranges: of each dim, for int8."""

    documents_ND: Tensor
    ranges: Mapping[int, Tensor]

    @classmethod
    def of(cls, documents_ND: Tensor, calibration_MD: Tensor, dims: Sequence[int]) -> StoredVectors:
        """With ranges of calibration_MD."""
        return cls(documents_ND, {dim: int8_ranges(_cut(calibration_MD, dim)) for dim in dims})

    def search(self, queries_QD: Tensor, dim: int, precision: VectorPrecision, k: int) -> CoarseHits:
        """The first k hits of every query and all that tie with the last; every document is encoded once.

        Similarities are dot products of the queries, in float32, and the decoded documents; between bits, of queries
        too, that is dim - 2 * the Hamming distance. Equal codes are equally similar: a matrix product, which rounds by
        where a vector stands in it, only finds the pairs that are worth an exact look.
        """
        queries_Qd = _cut(queries_QD, dim)
        if precision == "binary":
            queries_Qd = decoded(encoded(queries_Qd, precision), precision, dim)
        largest_Qk = queries_Qd.new_full((len(queries_Qd), k), -torch.inf)
        parts = []
        for start in range(0, len(self.documents_ND), ROWS):
            documents_Cd = self._decoded(start, dim, precision)
            near_QC = _products(queries_Qd, documents_Cd)
            largest_Qk = torch.cat([largest_Qk, _largest_of_groups(near_QC)], 1).topk(k).values
            lengths = queries_Qd.norm(dim=1).amax() * documents_Cd.norm(dim=1).amax()
            floor_Q1 = largest_Qk[:, -1:] - 2 * error_bound(dim, torch.float32) * lengths
            query_P, row_P = (near_QC >= floor_Q1).nonzero(as_tuple=True)
            if precision == "binary":
                similarity_P = near_QC[query_P, row_P].float()  # sums of 1 and -1 are exact
            else:
                pieces = _pieces(query_P, row_P, dim)
                similarity_P = torch.cat([_dot(queries_Qd[some], documents_Cd[rows]) for some, rows in pieces])
            parts.append((query_P, row_P + start, similarity_P))
        return CoarseHits.of(k, len(queries_QD), *map(torch.cat, zip(*parts, strict=True)))

    def full(self, queries_QD: Tensor, query_P: Tensor, document_P: Tensor) -> Tensor:
        """Of pairs of a query and a document, the similarity at the widest dim in float32, (P,)."""
        dim = max(self.ranges)
        queries_Qd = _cut(queries_QD, dim)
        pieces = _pieces(query_P, document_P, dim)
        return torch.cat([_dot(queries_Qd[some], _cut(self.documents_ND[rows], dim)) for some, rows in pieces])

    def _decoded(self, start: int, dim: int, precision: VectorPrecision) -> Tensor:
        codes_Cd = encoded(_cut(self.documents_ND[start : start + ROWS], dim), precision, self.ranges[dim])
        return decoded(codes_Cd, precision, dim, self.ranges[dim])


def _cut(x_ND: Tensor, dim: int) -> Tensor:
    return F.normalize(x_ND[:, :dim].float(), dim=1)


def _products(x_Qd: Tensor, y_Cd: Tensor) -> Tensor:
    """Of each row and each row of the other, (Q, C), off by no more than `error_bound` in fp32 of their lengths."""
    ieee = torch.get_float32_matmul_precision() == "highest"  # else products in fp32 may round as in tf32 or bf16
    return x_Qd @ y_Cd.T if ieee else x_Qd.double() @ y_Cd.double().T


def _largest_of_groups(x_QC: Tensor) -> Tensor:
    """Values of which the k-th largest is at most that of all, and hardly less: the sort of all takes longer."""
    size = max(1, x_QC.shape[1] // GROUPS)
    whole = x_QC.shape[1] // size * size
    return torch.cat([x_QC[:, :whole].unflatten(1, (size, -1)).amax(1), x_QC[:, whole:]], 1)


def _pieces(query_P: Tensor, row_P: Tensor, dim: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs whose vectors stay in a processor's cache."""
    piece = max(1, PIECE // dim)
    return zip(query_P.split(piece), row_P.split(piece), strict=True)


def _dot(x_Pd: Tensor, y_Pd: Tensor) -> Tensor:
    """Of each row and the same row of the other, (P,), rounded once from fp64 to fp32."""
    return (x_Pd.double() * y_Pd.double()).sum(1).float()


@dataclass(frozen=True)
class Judge:
    """A metric at k. grades: of the documents as they are stored."""

    expected: Expected
    k: int
    grades: Grades

    @classmethod
    def of(cls, relevant: Sequence[Collection[int]], place_N: Tensor, expected: Expected, k: int) -> Judge:
        """From the documents, at least one, that answer each query, by themselves or with their grades.

        place_N: where each document is among the vectors stored.
        """
        places = place_N.tolist()
        graded = [rows if isinstance(rows, Mapping) else dict.fromkeys(rows, 1) for rows in relevant]
        answers = [{places[row]: grade for row, grade in rows.items()} for rows in graded]
        return cls(expected, k, Grades.of(answers, len(places)))

    def plain(self, hits: CoarseHits) -> Tensor:
        """The value of each query, (Q,), of hits as they are."""
        grade_P, first_Qk = self._grade(hits), hits.first()
        ranks = TiedRanks.of(hits.similarities_P[first_Qk], grade_P[first_Qk], hits.tied_grades(grade_P))
        return self.expected(ranks, self.grades.all_QR.to(first_Qk.device), self.k)

    def rescored(self, hits: CoarseHits, queries_QD: Tensor, vectors: StoredVectors) -> Tensor:
        """The value of each query, (Q,), of the first hits in the order of the full vectors."""
        places_OQK, grade_P = hits.orders(ORDERS).transpose(0, 1), self._grade(hits)
        used_P = torch.zeros_like(grade_P, dtype=torch.bool)
        used_P[places_OQK.flatten()] = True
        full_P = torch.zeros_like(hits.similarities_P)
        full_P[used_P] = vectors.full(queries_QD, hits.queries_P[used_P], hits.documents_P[used_P])
        values = []
        for places_QK in places_OQK:
            full_QK, order_QK = full_P[places_QK].sort(dim=1, descending=True)
            ranks = TiedRanks.of(full_QK, grade_P[places_QK].gather(1, order_QK))
            values.append(self.expected(ranks, self.grades.all_QR.to(full_QK.device), self.k))
        return torch.stack(values).mean(0)

    def _grade(self, hits: CoarseHits) -> Tensor:
        return self.grades.of_pairs(hits.queries_P, hits.documents_P)
