"""Where a model fails: its hardest queries at every dim, and what the narrowest dim loses of the widest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from matryoshka.evaluation.protocols import Ranking, Rankings

TOP = 10  # the ranks that a person looks at
SHOWN = 3  # documents before the right one


@dataclass(frozen=True)
class Failure:
    """A query whose right answer is not first at some dim.

    answer: the text of the first right document found; where none was, of the highest grade's, the first by id. rank:
    of that document; None beyond the hits that were kept. beaten_by: text and similarity of the first documents ranked
    before it, at most 3. answer_similarity: None where the rank is.
    """

    query_id: str
    query: str
    answer: str
    rank: int | None
    beaten_by: tuple[tuple[str, float], ...]
    answer_similarity: float | None


@dataclass(frozen=True)
class Lost:
    """A query answered within the first hits at the widest dim and not at the narrowest.

    answer: the text of the right document found first at the widest dim. ranks: dim -> the rank of the first right
    document, widest dim first; None beyond the hits that were kept. first: what ranks first at the narrowest.
    """

    query_id: str
    query: str
    answer: str
    ranks: Mapping[int, int | None]
    first: str


@dataclass(frozen=True)
class Failures:
    """Where a model fails, copies counted as one document.

    hardest: dim -> the queries whose right answer ranks last; of equal rank those that are beaten most clearly first.
    lost: of the first `top` ranks, those that fell furthest first. found_first: queries whose answer ranks first at the
    widest dim. lost_first, lost_top: each narrower dim -> how many of these it does not rank first, or not within the
    first `top`. queries: all of them. top: 10, or as many hits as were kept.
    """

    queries: int
    top: int
    hardest: Mapping[int, tuple[Failure, ...]]
    lost: tuple[Lost, ...]
    found_first: int
    lost_first: Mapping[int, int]
    lost_top: Mapping[int, int]

    @property
    def dims(self) -> list[int]:
        """The dims looked at, widest first."""
        return list(self.hardest)


def find_failures(rankings: Rankings, dims: Sequence[int], n: int = 10) -> Failures:
    """The n hardest queries of each dim, and all that the narrowest loses; of the merged protocol.

    Otherwise a copy of the right answer would count as beating it.
    """
    dims = sorted(dims, reverse=True)
    ranks = {dim: rankings.merged[dim].first_hit_Q for dim in dims}
    depth = rankings.merged[dims[0]].documents_Qk.shape[1]
    top = min(TOP, depth)
    first_Q = ranks[dims[0]] == 1
    beyond = {dim: (rank_Q == 0) | (rank_Q > top) for dim, rank_Q in ranks.items()}
    lost_Q = ~beyond[dims[0]] & beyond[dims[-1]]
    fall_Q = torch.where(ranks[dims[-1]] == 0, depth + 1, ranks[dims[-1]]) - ranks[dims[0]]
    lost = sorted(lost_Q.nonzero()[:, 0].tolist(), key=lambda row: -int(fall_Q[row]))
    return Failures(
        queries=len(rankings.query_ids),
        top=top,
        hardest={dim: _hardest(rankings, rankings.merged[dim], n) for dim in dims},
        lost=tuple(_lost(rankings, dims, row) for row in lost),
        found_first=int(first_Q.sum()),
        lost_first={dim: int((first_Q & (ranks[dim] != 1)).sum()) for dim in dims[1:]},
        lost_top={dim: int((first_Q & beyond[dim]).sum()) for dim in dims[1:]},
    )


def _hardest(rankings: Rankings, ranking: Ranking, n: int) -> tuple[Failure, ...]:
    """An answer that was not found is at most as similar as the last hit that was."""
    rank_Q, found_Qk = ranking.first_hit_Q, ranking.documents_Qk >= 0
    last_Q = torch.where(rank_Q > 0, rank_Q, found_Qk.sum(1)).clamp(min=1) - 1
    first_Q = ranking.similarities_Qk[:, 0]
    margin_Q = (ranking.similarities_Qk.gather(1, last_Q[:, None])[:, 0] - first_Q).nan_to_num()  # no hits: -inf + inf
    place_Q = torch.where(rank_Q > 0, rank_Q, ranking.documents_Qk.shape[1] + 1)
    failing = (rank_Q != 1).nonzero()[:, 0].tolist()
    worst = sorted(failing, key=lambda row: (-int(place_Q[row]), float(margin_Q[row]), row))[:n]
    return tuple(_failure(rankings, ranking, row) for row in worst)


def _failure(rankings: Rankings, ranking: Ranking, row: int) -> Failure:
    rank, query = int(ranking.first_hit_Q[row]), rankings.query_ids[row]
    hits = [
        (_text(rankings, document), similarity)
        for document, similarity in zip(
            ranking.documents_Qk[row].tolist(), ranking.similarities_Qk[row].tolist(), strict=True
        )
        if document >= 0
    ]
    answer, similarity = hits[rank - 1] if rank else (_first_answer(rankings, query), None)
    before = hits[: rank - 1] if rank else hits
    return Failure(query, rankings.data.queries[query], answer, rank or None, tuple(before[:SHOWN]), similarity)


def _lost(rankings: Rankings, dims: Sequence[int], row: int) -> Lost:
    ranks = {dim: int(rankings.merged[dim].first_hit_Q[row]) or None for dim in dims}
    widest, narrowest = rankings.merged[dims[0]], rankings.merged[dims[-1]]
    answer = int(widest.documents_Qk[row, int(widest.first_hit_Q[row]) - 1])
    query = rankings.query_ids[row]
    first = _text(rankings, int(narrowest.documents_Qk[row, 0]))
    return Lost(query, rankings.data.queries[query], _text(rankings, answer), ranks, first)


def _text(rankings: Rankings, document: int) -> str:
    return rankings.data.corpus[rankings.document_ids[document]]


def _first_answer(rankings: Rankings, query: str) -> str:
    grades = rankings.data.grades[query]
    return rankings.data.corpus[min(grades, key=lambda document: (-grades[document], document))]
