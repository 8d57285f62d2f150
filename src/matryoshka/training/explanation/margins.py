"""By how much the best right document is nearer to a query than the nearest wrong one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matryoshka.evaluation.deployment.measuring import drawn
from matryoshka.evaluation.nearest import Documents
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.losses.precision import ieee_products
from matryoshka.losses.similarities import nested_similarities

QUERIES = 2_000  # that are measured at most
DOCUMENTS = 4_096  # that are compared at once


@dataclass(frozen=True)
class Margin:
    """Cosine similarity of the best right document minus that of the nearest wrong one, over queries.

    mean: over queries. negative: the share of queries to which a wrong document is nearer.
    """

    mean: float
    negative: float


def set_margins(vectors: SetVectors, dims: Sequence[int]) -> dict[int, Margin]:
    """The margins of a set's queries, 2,000 of them at most. A copy of a right document is right."""
    rows = drawn(len(vectors.queries_QD), QUERIES)
    right = right_texts(vectors)
    return margins(vectors.queries_QD[rows], vectors.documents_UD, [right[row] for row in rows], dims)


def right_texts(vectors: SetVectors) -> list[set[int]]:
    """For each query the rows of `documents_UD` that answer it, copies of an answer too."""
    texts_of: dict[int, set[int]] = {}
    for first, text in zip(vectors.judgements.copy_of_N.tolist(), vectors.documents_N.tolist(), strict=True):
        texts_of.setdefault(first, set()).add(text)
    return [set().union(*(texts_of[first] for first in of)) for of in vectors.judgements.merged_answers]


@torch.inference_mode()
@ieee_products()
def margins(
    queries_QD: Tensor,
    documents_ND: Documents,
    right: Sequence[Collection[int]],
    dims: Sequence[int],
    chunk: int = DOCUMENTS,
) -> dict[int, Margin]:
    """dim -> the margins of its first numbers, widest first. right: for each query the rows of its right documents.

    Queries that have no wrong document are left out; nothing is told where all are.
    """
    queries_QD, width = queries_QD.float(), max(dims)
    query_A = torch.tensor([query for query, rows in enumerate(right) for _ in rows])
    row_A = torch.tensor([row for rows in right for row in rows])
    best = {dim: queries_QD.new_full((2, len(queries_QD)), -torch.inf) for dim in dims}  # of wrong and of right ones
    for start in range(0, len(documents_ND), chunk):
        documents_CD = torch.as_tensor(documents_ND[start : start + chunk, :width]).float()
        right_QC = torch.zeros(len(queries_QD), len(documents_CD), dtype=torch.bool)
        here_A = (row_A >= start) & (row_A < start + len(documents_CD))
        right_QC[query_A[here_A], row_A[here_A] - start] = True
        for dim, similarity_QC in nested_similarities(queries_QD, documents_CD, dims):
            for best_Q, left_out_QC in zip(best[dim], (right_QC, ~right_QC), strict=True):
                torch.maximum(best_Q, similarity_QC.masked_fill(left_out_QC, -torch.inf).amax(1), out=best_Q)
    return {dim: _margin(*best[dim]) for dim in sorted(dims, reverse=True) if best[dim].isfinite().all(0).any()}


def _margin(wrong_Q: Tensor, right_Q: Tensor) -> Margin:
    margin_Q = (right_Q - wrong_Q)[wrong_Q.isfinite() & right_Q.isfinite()].double()
    return Margin(float(margin_Q.mean()), float((margin_Q < 0).double().mean()))
