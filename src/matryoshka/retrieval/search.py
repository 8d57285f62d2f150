"""Exact nearest neighbours at every nested dim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matryoshka.losses.matryoshka import nested_similarities


@dataclass(frozen=True)
class Hits:
    """The k best documents of each query, best first: their row numbers and similarities, both (Q, k)."""

    documents_Qk: Tensor
    similarities_Qk: Tensor


def search(
    queries_QD: Tensor, documents_ND: Tensor, dims: Sequence[int], k: int, query_chunk: int = 256
) -> dict[int, Hits]:
    """The k documents of the highest cosine similarity for every query at every dim.

    Exact, in a total order: similarity descending, then row number ascending. Similarities are computed in fp64 and
    compared in fp32, so chunks change nothing; for embeddings in fp64 they are compared in fp64, where the last digit
    may depend on the chunk. k is cut to the number of documents.
    Memory: query_chunk * N similarities and the documents in fp64.
    """
    k = min(k, len(documents_ND))
    # A product of fp32 rounds by the size of the chunk, and close documents would change places with it. Rounded after
    # a product of fp64 they don't, nor do rows that are equal up to a dim only. It costs a tenth of a search.
    compared = torch.promote_types(queries_QD.dtype, torch.float32)
    # Equal documents get one similarity: a product may round equal rows differently, by where they stand in it.
    distinct_UD, copy_N = torch.unique(documents_ND, dim=0, return_inverse=True)
    distinct_UD = distinct_UD.double()
    parts: dict[int, list[Hits]] = {dim: [] for dim in dims}
    for queries_CD in queries_QD.double().split(query_chunk):
        for dim, similarity_CU in nested_similarities(queries_CD, distinct_UD, dims):
            parts[dim].append(_top(similarity_CU.to(compared)[:, copy_N], k))
    return {
        dim: Hits(
            torch.cat([hits.documents_Qk for hits in parts[dim]]),
            torch.cat([hits.similarities_Qk for hits in parts[dim]]),
        )
        for dim in dims
    }


def _top(similarity_CN: Tensor, k: int) -> Hits:
    """The k best of each row, equal ones by column, ascending."""
    if similarity_CN.dtype != torch.float32:
        values, documents = torch.sort(similarity_CN, dim=1, descending=True, stable=True)
        return Hits(documents[:, :k].clone(), values[:, :k].clone())
    # topk breaks ties as it likes. Of one whole number that orders by similarity, then by column, there are none.
    bits = (similarity_CN + 0.0).view(torch.int32).long()  # + 0.0: -0.0 is 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    last = similarity_CN.shape[1] - 1
    keys = (ordered << 32) + (last - torch.arange(last + 1, device=bits.device))
    documents = last - (keys.topk(k, dim=1).values & 0xFFFFFFFF)
    return Hits(documents, similarity_CN.gather(1, documents))
