"""Who finds the passages that look like an answer: the encoder, BM25, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from matryoshka.evaluation.bm25 import BM25
from matryoshka.evaluation.nearest import search
from matryoshka.evaluation.set_vectors import ChosenRows
from matryoshka.mining.candidates import Candidates, Places
from matryoshka.projection.pair_vectors import PairVectors

FUSED_FROM = 60  # k of reciprocal rank fusion, as in its source


class Searcher(Protocol):
    """Finds candidates for the anchors of training rows."""

    name: str

    def hits(self, rows: Sequence[int], k: int) -> Places:
        """The k best candidates of each row, best first, (R, k); -1 where there are no more."""


class EncoderSearcher:
    """Exact search by cosine at the full width, on a device. Of equally similar candidates the first comes first."""

    def __init__(self, name: str, vectors: PairVectors, candidates: Candidates, device: torch.device) -> None:
        self.name = name
        self.vectors = vectors
        self.device = device
        self.documents_CD = ChosenRows(vectors.positives_PD, vectors.positive_N[torch.tensor(candidates.rows)])

    def hits(self, rows: Sequence[int], k: int) -> Places:
        """As Searcher."""
        distinct_Q, query_R = self.vectors.anchor_N[torch.tensor(rows)].unique(return_inverse=True)
        queries_QD = self.vectors.anchors_AD[distinct_Q].float().to(self.device)
        width = self.vectors.width
        found_Qk = search(queries_QD, self.documents_CD, [width], k)[width].on_host().documents_Qk
        hits_Rk: Places = found_Qk[query_R].numpy()
        return hits_Rk


class BM25Searcher:
    """BM25 over the candidates' words. What shares no word with the anchor is no hit."""

    name = "BM25"

    def __init__(self, bm25: BM25, anchors: Sequence[str], candidates: Candidates) -> None:
        self.anchors = anchors
        self.index = bm25.index(candidates.texts)

    def hits(self, rows: Sequence[int], k: int) -> Places:
        """As Searcher."""
        place: dict[str, int] = {}
        query_R = [place.setdefault(self.anchors[row], len(place)) for row in rows]
        hits_Rk: Places = self.index.search(list(place), k).documents_Qk.numpy()[query_R]
        return hits_Rk


def ranked_candidates(searchers: Sequence[Searcher], candidates: Candidates, rows: Sequence[int], depth: int) -> Places:
    """The candidates of each row that may be its negatives, best first, (R, depth); -1 behind the last."""
    k = candidates.deepest(rows, depth)
    ranked = [candidates.ranked(rows, searcher.hits(rows, k), depth) for searcher in searchers]
    return ranked[0] if len(ranked) == 1 else fused(ranked)


def fused(ranked: Sequence[Places]) -> Places:
    """Several rankings as one, (R, D), by the sum of 1 / (60 + rank); of equal sums the first candidate comes first.

    Source: Cormack, Clarke and Buettcher 2009, Reciprocal Rank Fusion.
    """
    fused_RD = np.full_like(ranked[0], -1)
    for row, lists in enumerate(zip(*(ranking.tolist() for ranking in ranked), strict=True)):
        scores: dict[int, float] = {}
        for found in lists:
            for rank, candidate in enumerate(found, start=1):
                if candidate >= 0:
                    scores[candidate] = scores.get(candidate, 0.0) + 1 / (FUSED_FROM + rank)
        best = sorted(scores, key=lambda candidate: (-scores[candidate], candidate))[: fused_RD.shape[1]]
        fused_RD[row, : len(best)] = best
    return fused_RD
