"""Rankings with many ties, made without an encoder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.measurement import measure
from matryoshka.evaluation.nearest import Hits
from matryoshka.evaluation.protocols import CopyGroups, Rankings
from matryoshka.evaluation.result import EvaluationResult


def planted(queries: int, documents: int, dims: Sequence[int], **options: Any) -> Rankings:
    """The rankings of `planted_result`."""
    rankings = planted_result(queries, documents, dims, **options).rankings
    assert rankings is not None
    return rankings


def planted_result(
    queries: int,
    documents: int,
    dims: Sequence[int],
    *,
    depth: int = 100,
    copies: int = 0,
    levels: int = 7,
    seed: int = 0,
    graded: bool = False,
) -> EvaluationResult:
    """Every document has one of `levels` similarities, from -1 to 1; the last ones are copies of the first.

    Answers are one to five documents, more similar the wider the dim, graded from 1 to 3 where that is asked. Ids have
    spaces; ids of documents descend.
    """
    generator = torch.Generator().manual_seed(seed)
    texts = [f"Absatz {row}" for row in range(documents - copies)]
    texts += [f"ABSATZ {row}!" for row in range(copies)]
    document_ids = [f"§ {row:05d}" for row in range(documents)]
    query_ids = [f"frage {row}" for row in range(queries)]
    answers = torch.rand(queries, documents, generator=generator).argsort(1)[:, :5].tolist()
    relevant: dict[str, Collection[str]] = {
        q: frozenset(document_ids[row] for row in answers[i][: 1 + i % 5]) for i, q in enumerate(query_ids)
    }
    if graded:
        relevant = {q: {d: 1 + (i + int(d[2:])) % 3 for d in relevant[q]} for i, q in enumerate(query_ids)}
    data = RetrievalSet(
        "planted",
        {query: f"Was sagt {query}?" for query in query_ids},
        dict(zip(document_ids, texts, strict=True)),
        relevant,
    )
    whole = {}
    for dim in dims:
        level_QN = torch.randint(levels, (queries, documents), generator=generator)
        for row, found in enumerate(answers):
            level_QN[row, found[: 1 + row % 5]] += levels * dim // (2 * max(dims))
        similarity_QN = 2 * level_QN.clamp(max=levels - 1) / (levels - 1) - 1
        similarity_QN, order_QN = similarity_QN.sort(dim=1, descending=True, stable=True)
        whole[dim] = Hits(order_QN, similarity_QN)
    judged = CopyGroups(Judgements(data, query_ids, document_ids), torch.arange(documents))
    metrics = {name: metric for name, metric in Evaluator(map_at=[depth]).metrics.items() if metric.k <= depth}

    def search(rows_M: Tensor, dim: int, k: int) -> Hits:
        return Hits(whole[dim].documents_Qk[rows_M, :k], whole[dim].similarities_Qk[rows_M, :k])

    hits = {dim: search(torch.arange(queries), dim, depth + copies) for dim in dims}
    return measure("planted", judged, hits, search, metrics)
