"""Exact nearest neighbours at every nested dim, over documents that need not fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matryoshka.evaluation.mapped_rows import MappedRows
from matryoshka.evaluation.top import RunningTop
from matryoshka.losses.similarities import nested_similarities

Documents = Tensor | np.ndarray[Any, np.dtype[Any]] | MappedRows
MANY = 1 / 512  # share of pairs from which on a product in fp64 costs less than looking at so many in fp64
LARGEST = 1e15  # squares of larger numbers would not add up in fp32


@dataclass(frozen=True)
class Hits:
    """The k best documents of each query, best first: their row numbers and similarities, both (Q, k)."""

    documents_Qk: Tensor
    similarities_Qk: Tensor


@torch.inference_mode()
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
    Memory: some numbers of query_chunk * document_chunk and document_chunk * D, besides the hits.
    Raises ValueError for embeddings that are not finite, or beyond 1e15.
    """
    k, width = min(k, len(documents_ND)), max(dims)
    queries_QD = _checked(queries_QD[:, :width], "queries")
    compared = torch.promote_types(queries_QD.dtype, torch.float32)
    chunks = queries_QD.split(query_chunk)
    tops = [{dim: RunningTop(queries_CD[:, :dim], k, compared) for dim in set(dims)} for queries_CD in chunks]
    ieee = torch.get_float32_matmul_precision() == "highest"  # else products in fp32 may round as in tf32 or bf16
    precision = torch.float64
    for start in range(0, len(documents_ND), document_chunk):
        documents_CD = _read(documents_ND, start, start + document_chunk, width).to(queries_QD.device)
        near_CD, looked_at = documents_CD.to(precision), 0
        for queries_CD, top in zip(chunks, tops, strict=True):
            for dim, near_CC in nested_similarities(queries_CD.to(precision), near_CD, list(top)):
                looked_at += top[dim].add(near_CC, documents_CD[:, :dim], start)
        many = looked_at > MANY * len(queries_QD) * len(documents_CD) * len(set(dims))
        precision = torch.float64 if many or not ieee else torch.float32
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
