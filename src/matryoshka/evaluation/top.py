"""The running top-k of a search: which documents may enter it, and exact similarities of those that may."""

from __future__ import annotations

import torch
from torch import Tensor

from matryoshka.losses.similarities import EPSILON

PIECE = 2**17  # numbers that are summed at once: they stay in a processor's cache


class RunningTop:
    """The k best documents of each query among those seen so far, at one dim.

    In a total order: similarity descending, then row number ascending. A similarity is `exact_cosine` rounded to
    `compared`: it depends on the two vectors alone. A matrix product rounds by its shape and by where a vector stands
    in it; so it only tells, by a bound on its error, which pairs may enter and what most of them round to.
    """

    def __init__(self, queries_Qd: Tensor, k: int, compared: torch.dtype) -> None:
        self.queries_Qd = queries_Qd.double()
        self.lengths_Q = exact_length(self.queries_Qd)
        self.similarities_Qk = torch.full((len(queries_Qd), k), -torch.inf, dtype=compared, device=queries_Qd.device)
        self.documents_Qk = torch.zeros((len(queries_Qd), k), dtype=torch.int64, device=queries_Qd.device)

    def add(self, near_QN: Tensor, documents_Nd: Tensor, first_row: int) -> int:
        """Let the next N documents in, whose rows follow all that were seen; returns how many pairs were looked at.

        near_QN: their similarities by a matrix product in fp32 or fp64, off by no more than `error_bound`.
        """
        k, dim, worst_Q = self.similarities_Qk.shape[1], documents_Nd.shape[1], self.similarities_Qk[:, -1]
        floor_Q = worst_Q.to(near_QN.dtype)
        if first_row < k <= near_QN.shape[1]:  # hits are still missing: all could enter, but no more than k stay
            floor_Q = torch.maximum(floor_Q, kth_at_least(near_QN, k))
        slack = 2 * error_bound(dim, torch.float32)
        query_P, column_P = (near_QN >= floor_Q[:, None] - slack).nonzero(as_tuple=True)
        looked_at = len(query_P)

        near_P, error = near_QN[query_P, column_P].double(), error_bound(dim, near_QN.dtype)
        low_P, high_P = ((near_P + side).to(worst_Q.dtype) for side in (-error, error))
        if first_row >= k:  # of equal documents the first stays
            enters_P = high_P > worst_Q[query_P]
            query_P, column_P, low_P, high_P = (x_P[enters_P] for x_P in (query_P, column_P, low_P, high_P))
        open_P = (low_P != high_P).nonzero()[:, 0]
        low_P[open_P] = self._exact(documents_Nd, query_P[open_P], column_P[open_P])
        self._merge(query_P, column_P + first_row, low_P, min(first_row, k))
        return looked_at

    def _exact(self, documents_Nd: Tensor, query_P: Tensor, column_P: Tensor) -> Tensor:
        """Similarities of pairs of a query and a document, (P,)."""
        piece = max(1, PIECE // documents_Nd.shape[1])
        parts = [
            exact_cosine(self.queries_Qd[queries_P], documents_Nd[columns_P].double(), self.lengths_Q[queries_P])
            for queries_P, columns_P in zip(query_P.split(piece), column_P.split(piece), strict=True)
        ]
        return torch.cat(parts).to(self.similarities_Qk.dtype)

    def _merge(self, query_P: Tensor, document_P: Tensor, similarity_P: Tensor, held: int) -> None:
        """Put pairs, which come by query and then by row, behind the hits held, and sort: a stable sort keeps ties."""
        count_Q = query_P.bincount(minlength=len(self.similarities_Qk))
        some_S = count_Q.nonzero()[:, 0]
        if not len(some_S):
            return
        place_P = held + torch.arange(len(query_P), device=query_P.device) - (count_Q.cumsum(0) - count_Q)[query_P]
        line_P = ((count_Q > 0).cumsum(0) - 1)[query_P]
        shape = (len(some_S), held + int(count_Q.max()))
        merged_SM, rows_SM = similarity_P.new_full(shape, -torch.inf), document_P.new_zeros(shape)
        merged_SM[:, :held], rows_SM[:, :held] = self.similarities_Qk[some_S, :held], self.documents_Qk[some_S, :held]
        merged_SM[line_P, place_P], rows_SM[line_P, place_P] = similarity_P, document_P
        merged_SM, order_SM = merged_SM.sort(dim=1, descending=True, stable=True)
        best = slice(min(shape[1], self.similarities_Qk.shape[1]))
        self.similarities_Qk[some_S, best] = merged_SM[:, best]
        self.documents_Qk[some_S, best] = rows_SM.gather(1, order_SM[:, best])


def kth_at_least(x_QN: Tensor, k: int) -> Tensor:
    """A number that at least k of each row reach, and few more: the k-th of the largest of groups of columns, (Q,)."""
    size = max(1, min(16, x_QN.shape[1] // (2 * k)))
    groups = x_QN.shape[1] // size
    largest_QG = x_QN[:, : size * groups].unflatten(1, (size, groups)).amax(1)
    kth_Q: Tensor = largest_QG.topk(k, sorted=False).values.amin(1)
    return kth_Q


def exact_cosine(queries_Pd: Tensor, documents_Pd: Tensor, lengths_P: Tensor) -> Tensor:
    """The cosine of each row with the same row of the other, (P,), fp64; it depends on these two rows alone.

    lengths_P: `exact_length` of the queries, as many pairs share one.
    """
    return _sum_by_halves(queries_Pd * documents_Pd) / lengths_P / exact_length(documents_Pd)


def exact_length(x_Pd: Tensor) -> Tensor:
    """Each row's length, (P,), at least EPSILON; it depends on the row alone."""
    return _sum_by_halves(x_Pd * x_Pd).clamp_min(EPSILON**2).sqrt()


def _sum_by_halves(x_Pd: Tensor) -> Tensor:
    """Each row's sum by additions of whole columns, so that no row is summed in another order than the next."""
    while (width := x_Pd.shape[1]) > 1:
        half = width // 2
        sums_Ph = x_Pd[:, :half] + x_Pd[:, half : 2 * half]
        x_Pd = torch.cat([sums_Ph, x_Pd[:, 2 * half :]], 1) if width % 2 else sums_Ph
    return x_Pd[:, 0]


def error_bound(dim: int, dtype: torch.dtype) -> float:
    """How far a cosine of `dim` numbers, computed in dtype in any order, may be off; as of Higham 2002, chapter 3.

    dim roundings in the product, half as many in each length (a square root), and a few for the divisions; besides
    those of the exact cosine that it is compared with, by halves.
    """
    return (2 * dim + 2 * dim.bit_length() + 32) * torch.finfo(dtype).eps / 2
