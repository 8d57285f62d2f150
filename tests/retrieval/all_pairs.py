"""The slow, obvious search: the exact cosine of every pair, sorted."""

from __future__ import annotations

import torch
from torch import Tensor

from matryoshka.retrieval.search import Hits
from matryoshka.retrieval.top import exact_cosine


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hits_by_all_pairs(queries_Qd: Tensor, documents_Nd: Tensor, k: int) -> Hits:
    """The best k of each query by a stable sort of all similarities."""
    compared = torch.promote_types(queries_Qd.dtype, torch.float32)
    rows = [exact_cosine(q[None].expand_as(documents_Nd), documents_Nd.double()) for q in queries_Qd.double()]
    similarity_QN, documents_QN = torch.stack(rows).to(compared).sort(dim=1, descending=True, stable=True)
    return Hits(documents_QN[:, :k], similarity_QN[:, :k])
