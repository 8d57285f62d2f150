"""Runs' folders as train.py and evaluate.py write them, with rankings made up."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.protocols import Ranking, Rankings
from matryoshka.report.rankings import write_rankings

HITS = 10


def letters(queries: int = 24, name: str = "letters") -> RetrievalSet:
    """Queries of which each two share their answer, over more documents than are found; some are copies."""
    corpus = {f"d{i:02d}": f"text {i}" for i in range(max(queries, HITS))} | {"copy": "Text 0!"}
    relevant = {f"q{i:02d}": frozenset({f"d{i // 2:02d}"}) for i in range(queries)}
    return RetrievalSet(name, {query: f"question {query}" for query in relevant}, corpus, relevant)


def write_run(run: Path, ranks: dict[int, list[int]], *, data: RetrievalSet | None = None, base: bool = False) -> Path:
    """A run whose queries find their answer at these ranks, by dim; 0 for those that do not. Returns the folder."""
    data = data or letters()
    written = {dim: _ranking(data, of_dim) for dim, of_dim in ranks.items()}
    queries, documents = list(data.queries), list(data.corpus)
    copy_of_N = torch.arange(len(documents))
    copy_of_N[-1] = 0
    clusters_Q = torch.tensor([documents.index(min(data.relevant[query])) for query in queries])
    rankings = Rankings(data, queries, documents, written, written, clusters_Q, copy_of_N)
    write_rankings(run / ("rankings_base" if base else "rankings"), rankings)
    result = {"model": "tiny base" if base else "tiny", "data": data.name, "fingerprint": data.fingerprint}
    (run / ("base.json" if base else "results.json")).write_text(json.dumps(result), encoding="utf-8")
    return run


def ndcg(rank: int) -> float:
    """Of one right document at this rank."""
    return 1 / math.log2(rank + 1) if rank else 0.0


def _ranking(data: RetrievalSet, ranks: list[int]) -> Ranking:
    documents = list(data.corpus)
    rows = []
    for query, rank in zip(data.queries, ranks, strict=True):
        answer = documents.index(min(data.relevant[query]))
        others = [row for row in range(len(documents)) if row != answer]
        rows.append([*others[: rank - 1], answer, *others[rank - 1 :]][:HITS] if rank else others[:HITS])
    relevant = [[rank + 1 == wanted for rank in range(HITS)] for wanted in ranks]
    values = {"ndcg@10": [ndcg(rank) for rank in ranks], "accuracy@1": [float(rank == 1) for rank in ranks]}
    return Ranking(
        torch.tensor(rows),
        torch.linspace(0.9, 0.1, HITS).expand(len(rows), -1).contiguous(),
        torch.tensor(relevant),
        torch.tensor(ranks),
        {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()},
    )
