"""Several retrieval sets that are measured one by one, and the mean of what they give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.tokens import TokenIds
from matryoshka.evaluation.intervals import metric_intervals
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.tokenized_set import TokenizedSet


@dataclass(frozen=True)
class SeveralSets(TokenizedSet):
    """The texts of all sets, for whoever looks at texts; each query is asked of its own set alone, one of `parts`."""

    parts: Mapping[str, TokenizedSet] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, str]:
        """What tables call the mean over the parts, and the fingerprint of all of them."""
        return f"mean over {', '.join(self.parts)}", self.data.fingerprint

    @classmethod
    def joined(cls, data: RetrievalSet, parts: Mapping[str, TokenizedSet]) -> SeveralSets:
        """data: the texts of all parts, their names and a slash before each id."""
        queries = [f"{name}/{query}" for name, part in parts.items() for query in part.query_ids]
        documents = [f"{name}/{document}" for name, part in parts.items() for document in part.document_ids]
        in_order = sorted(range(len(documents)), key=documents.__getitem__)
        query_ids, queries_Q = _joined([(part.queries, part.queries_Q) for part in parts.values()])
        document_ids, documents_N = _joined([(part.documents, part.documents_N) for part in parts.values()])
        return cls(
            data,
            queries,
            [documents[place] for place in in_order],
            query_ids,
            document_ids,
            queries_Q,
            documents_N[in_order],
            parts,
        )


def _joined(parts: Sequence[tuple[TokenIds, Tensor]]) -> tuple[TokenIds, Tensor]:
    """The distinct texts of all parts, and which of them each query or document has."""
    flat = np.concatenate([ids.flat for ids, _ in parts])
    offsets = np.cumsum(np.concatenate([[0], *(ids.lengths for ids, _ in parts)]), dtype=np.int64)
    ids, rows = TokenIds(flat, offsets).without_copies()
    starts = np.cumsum([0, *(len(part) for part, _ in parts)])
    rows_N = torch.cat([row_N + start for (_, row_N), start in zip(parts, starts.tolist(), strict=False)])
    return ids, torch.from_numpy(rows)[rows_N]


def mean_result(name: str, fingerprint: str, parts: Mapping[str, EvaluationResult]) -> EvaluationResult:
    """Each figure as the mean over the sets, however many queries they have; counts, tokens and seconds are sums.

    name, fingerprint: of the sets together. Intervals are those of `stratified_intervals`, where all have rankings.
    """
    results, rankings = list(parts.values()), [part.rankings for part in parts.values() if part.rankings]
    of_sets = [((of.as_is, of.merged), of.clusters_Q) for of in rankings]
    intervals, merged_intervals = metric_intervals(of_sets) if len(of_sets) == len(results) else ({}, {})

    def by_dim(name: str) -> dict[int, dict[str, float]]:
        found: list[Mapping[int, Mapping[str, float]]] = [getattr(result, name) for result in results]
        return {dim: _mean([of[dim] for of in found]) for dim in found[0]}

    return replace(
        results[0],
        data=name,
        queries=sum(result.queries for result in results),
        documents=sum(result.documents for result in results),
        metrics=by_dim("metrics"),
        merged=by_dim("merged"),
        expected=by_dim("expected"),
        ceiling=_mean([result.ceiling for result in results]),
        merged_ceiling=_mean([result.merged_ceiling for result in results]),
        intervals=intervals,
        merged_intervals=merged_intervals,
        copies=sum(result.copies for result in results),
        clusters=sum(result.clusters for result in results),
        tokens=sum(result.tokens for result in results),
        seconds=sum(result.seconds for result in results),
        fingerprint=fingerprint,
        rankings=None,
        parts=parts,
    )


def _mean(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: math.fsum(of[name] for of in values) / len(values) for name in values[0]}
