"""The slow, obvious search: the exact cosine of every pair, sorted."""

from __future__ import annotations

import torch
from torch import Tensor

from matryoshka.evaluation.nearest import Hits, exact_cosine, exact_length


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact_cosines(queries_Qd: Tensor, documents_Nd: Tensor) -> Tensor:
    """The exact cosine of every pair, (Q, N), fp64."""
    queries_Qd, documents_Nd = queries_Qd.double(), documents_Nd.double()
    count = len(documents_Nd)
    rows = [exact_cosine(q_d.expand(count, -1), documents_Nd, exact_length(q_d[None])) for q_d in queries_Qd]
    return torch.stack(rows)


def hits_by_all_pairs(queries_Qd: Tensor, documents_Nd: Tensor, k: int) -> Hits:
    """The best k of each query by a stable sort of all similarities."""
    compared = torch.promote_types(queries_Qd.dtype, torch.float32)
    similarity_QN, documents_QN = (
        exact_cosines(queries_Qd, documents_Nd).to(compared).sort(dim=1, descending=True, stable=True)
    )
    return Hits(documents_QN[:, :k], similarity_QN[:, :k])
