"""Mining as a person would do it by hand: every pair looked at, a row at a time. Slow; what the fast way must equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from matryoshka.data.copies import normalised
from matryoshka.evaluation.bm25 import BM25
from matryoshka.mining.mining import Mining


@dataclass(frozen=True)
class Texts:
    """Training rows and the documents that are relevant in dev or test."""

    anchors: tuple[str, ...]
    positives: tuple[str, ...]
    answers: tuple[str, ...] = ()


def cosine(one_D: Tensor, other_D: Tensor) -> float:
    """Of two vectors, as near as fp64 comes."""
    one, other = one_D.double(), other_D.double()
    return float((one @ other) / (one.norm() * other.norm()))


@cache
def pool(texts: Texts) -> list[int]:
    """The rows whose positives are the candidates: of copies the first, and none that answers a held-out query."""
    rows = []
    for row, text in enumerate(texts.positives):
        copies = [normalised(other) for other in texts.positives[:row]]
        if normalised(text) not in copies and normalised(text) not in map(normalised, texts.answers):
            rows.append(row)
    return rows


@cache
def is_right(texts: Texts, row: int, passage: str) -> bool:
    """Whether a passage must not be a negative of a row."""
    if normalised(passage) == normalised(texts.anchors[row]):
        return True
    return any(
        normalised(anchor) == normalised(texts.anchors[row]) and normalised(positive) == normalised(passage)
        for anchor, positive in zip(texts.anchors, texts.positives, strict=True)
    )


def ranking_by(texts: Texts, row: int, score: Callable[[int], float]) -> list[int]:
    """The candidates that may be negatives of the row, by descending score; one of -inf is no hit."""
    may = [c for c in pool(texts) if not is_right(texts, row, texts.positives[c]) and score(c) > -math.inf]
    return sorted(may, key=lambda c: (-score(c), c))


def bm25_score(texts: Texts, row: int) -> Callable[[int], float]:
    """What BM25 gives each candidate; -inf where no word is shared."""
    rows = pool(texts)
    hits = BM25().search([texts.anchors[row]], [texts.positives[c] for c in rows], len(rows))
    found = zip(hits.documents_Qk[0].tolist(), hits.similarities_Qk[0].tolist(), strict=True)
    scores = {rows[document]: score for document, score in found if document >= 0}
    return lambda c: scores.get(c, -math.inf)


def cosine_score(anchors_ND: Tensor, positives_ND: Tensor, row: int) -> Callable[[int], float]:
    """The encoder's similarity, rounded as the search rounds it."""
    return lambda c: float(torch.tensor(cosine(anchors_ND[row], positives_ND[c])).float())


def fused(rankings: Sequence[Sequence[int]], depth: int) -> list[int]:
    """By the sum of reciprocal ranks; each ranking is looked at as deep as the search goes."""
    every = {c for ranking in rankings for c in ranking[:depth]}
    total = {c: sum(1 / (61 + list(r[:depth]).index(c)) for r in rankings if c in r[:depth]) for c in every}
    return sorted(every, key=lambda c: (-total[c], c))


def negatives(
    texts: Texts, mining: Mining, ranking: Sequence[int], similarity: Callable[[int], float], positive: float, mu: float
) -> tuple[list[tuple[int, int]], int, int]:
    """(row of the passage, rank) of each negative; how many of the ranks were considered and how many refused."""

    def passes(c: int) -> bool:
        rescaled, most = (similarity(c) - mu) / (1 - mu), (positive - mu) / (1 - mu)
        if mining.relative is not None and rescaled > mining.relative * most:
            return False
        return mining.absolute is None or rescaled <= mining.absolute

    ranked = list(enumerate(ranking, start=1))
    within = [(c, rank) for rank, c in ranked if mining.first <= rank <= mining.last]
    beyond = [(c, rank) for rank, c in ranked if mining.last < rank <= 2 * mining.last]
    chosen = [(c, rank) for c, rank in within if passes(c)]
    refused = len(within) - len(chosen)
    chosen = (chosen + [(c, rank) for c, rank in beyond if passes(c)])[: mining.per_row]
    while chosen and len(chosen) < mining.per_row:
        chosen.append(chosen[len(chosen) % len(set(chosen))])
    return chosen, len(within), refused
