"""Exact nearest neighbours at every nested dim, over documents that need not fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from matryoshka.losses.precision import ieee_products
from matryoshka.losses.similarities import EPSILON, nested_similarities


class Documents(Protocol):
    """A matrix (N, D) that is read piece by piece: a tensor, an array, rows of a file."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: Any, /) -> Any: ...


MANY = 1 / 512  # share of pairs from which on a product in fp64 costs less than looking at so many in fp64
LARGEST = 1e15  # squares of larger numbers would not add up in fp32
PIECE = 2**17  # numbers that are summed at once: they stay in a processor's cache


@dataclass(frozen=True)
class Hits:
    """The k best documents of each query, best first: their row numbers and similarities, both (Q, k)."""

    documents_Qk: Tensor
    similarities_Qk: Tensor

    def on_host(self) -> Hits:
        """The same in the host's memory."""
        return Hits(self.documents_Qk.cpu(), self.similarities_Qk.cpu())


@torch.inference_mode()
@ieee_products()  # else products in fp32 may round as in tf32 or bf16, by more than their bound
def search(
    queries_QD: Tensor,
    documents_ND: Documents,
    dims: Sequence[int],
    k: int,
    query_chunk: int = 256,
    document_chunk: int = 4096,
) -> dict[int, Hits]:
    """The k documents of the highest cosine similarity for every query at every dim.

    Exact, in a total order: similarity descending, then row number ascending. Similarities are computed in fp64 and
    compared in fp32 (in fp64 for queries in fp64); each depends on its two vectors alone, so chunks change nothing and
    equal documents are equally similar, bit for bit. k is cut to the number of documents.
    documents_ND: a tensor or an array, such as `np.load(path, mmap_mode="r")`; they are read once, chunk by chunk.
    The queries' device searches, with the same hits on each: products of matrices only choose what is looked at; the
    rest is +, *, / and square roots, one by one in fp64, which IEEE 754 rounds alike everywhere, and stable sorts.
    Memory: some numbers of query_chunk * document_chunk and document_chunk * D, besides the hits.
    Raises ValueError for embeddings that are not finite, or beyond 1e15.
    """
    k, width = min(k, len(documents_ND)), max(dims)
    queries_QD = _checked(queries_QD[:, :width], "queries")
    compared = torch.promote_types(queries_QD.dtype, torch.float32)
    chunks = queries_QD.split(query_chunk)
    tops = [{dim: RunningTop(queries_CD[:, :dim], k, compared) for dim in set(dims)} for queries_CD in chunks]
    precision = torch.float64
    for start in range(0, len(documents_ND), document_chunk):
        documents_CD = _read(documents_ND, start, start + document_chunk, width).to(queries_QD.device)
        near_CD, looked_at = documents_CD.to(precision), 0
        for queries_CD, top in zip(chunks, tops, strict=True):
            for dim, near_CC in nested_similarities(queries_CD.to(precision), near_CD, list(top)):
                looked_at += top[dim].add(near_CC, documents_CD[:, :dim], start)
        many = looked_at > MANY * len(queries_QD) * len(documents_CD) * len(set(dims))
        precision = torch.float64 if many else torch.float32
    return {
        dim: Hits(
            torch.cat([top[dim].documents_Qk for top in tops]), torch.cat([top[dim].similarities_Qk for top in tops])
        )
        for dim in dims
    }


def _read(documents_ND: Documents, start: int, stop: int, width: int) -> Tensor:
    part_CD = documents_ND[start:stop, :width]
    if not isinstance(part_CD, Tensor):
        part_CD = torch.from_numpy(np.array(part_CD))  # a copy: a mapped file may be read only
    return _checked(part_CD, f"documents {start} to {start + len(part_CD) - 1}")


def _checked(embeddings_ND: Tensor, name: str) -> Tensor:
    low, high = embeddings_ND.aminmax() if embeddings_ND.numel() else (0.0, 0.0)
    if not (low > -LARGEST and high < LARGEST):
        raise ValueError(f"{name}: an embedding holds numbers that are not finite or too large")
    return embeddings_ND


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
