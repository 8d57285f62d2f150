"""Failures against plain loops over the rankings."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from matryoshka.evaluation.failures import Failures, find_failures
from matryoshka.evaluation.protocols import Rankings
from matryoshka.evaluation.result import NO_DIM
from tests.evaluation.planted import planted

DIMS = [64, 32, 16]
DEPTH = 15


@pytest.fixture(scope="module", params=[False, True])
def rankings(request: pytest.FixtureRequest) -> Rankings:
    return planted(60, 120, DIMS, depth=DEPTH, copies=30, levels=23, graded=request.param)


@pytest.fixture(scope="module")
def failures(rankings: Rankings) -> Failures:
    return find_failures(rankings, [16, 64, 32])


def hits(rankings: Rankings, dim: int, row: int) -> list[tuple[str, float, bool]]:
    """Text, similarity and relevance of what a query found, copies merged."""
    ranking = rankings.merged[dim]
    return [
        (rankings.data.corpus[rankings.document_ids[document]], similarity, relevant)
        for document, similarity, relevant in zip(
            ranking.documents_Qk[row].tolist(),
            ranking.similarities_Qk[row].tolist(),
            ranking.relevant_Qk[row].tolist(),
            strict=True,
        )
    ]


def rank(rankings: Rankings, dim: int, row: int) -> int | None:
    return next((place for place, hit in enumerate(hits(rankings, dim, row), 1) if hit[2]), None)


@pytest.mark.parametrize("dim", DIMS)
def test_the_hardest_are_those_a_plain_loop_finds(rankings: Rankings, failures: Failures, dim: int) -> None:
    expected = []
    for row, query in enumerate(rankings.query_ids):
        found, place = hits(rankings, dim, row), rank(rankings, dim, row)
        before = found[: place - 1] if place else found
        if not before:
            continue
        answer = found[place - 1] if place else None
        margin = (answer or found[-1])[1] - found[0][1]
        grades = rankings.data.grades[query]
        by_id = rankings.data.corpus[min(d for d in grades if grades[d] == max(grades.values()))]
        expected.append(
            (
                (-(place or 1000), margin, row),
                (
                    query,
                    rankings.data.queries[query],
                    answer[0] if answer else by_id,
                    place,
                    tuple(hit[:2] for hit in before[:3]),
                    answer[1] if answer else None,
                ),
            )
        )
    expected.sort(key=lambda item: item[0])
    assert len(expected) > 10
    found_failures = failures.hardest[dim]
    assert [tuple(vars(failure).values()) for failure in found_failures] == [item[1] for item in expected[:10]]
    more = find_failures(rankings, [dim], n=1000).hardest[dim]
    assert [tuple(vars(failure).values()) for failure in more] == [item[1] for item in expected]
    assert {failure.rank is None for failure in more} == {True, False}


def test_what_the_narrowest_dim_loses(rankings: Rankings, failures: Failures) -> None:
    expected = []
    for row, query in enumerate(rankings.query_ids):
        ranks = {dim: rank(rankings, dim, row) for dim in DIMS}
        wide, narrow = ranks[64] or 1000, ranks[16] or 1000
        if wide <= 10 < narrow:
            answer = hits(rankings, 64, row)[wide - 1][0]
            fall = min(narrow, DEPTH + 1) - wide
            expected.append((-fall, row, query, answer, ranks, hits(rankings, 16, row)[0][0]))
    expected.sort(key=lambda item: item[:2])
    assert len(expected) > 5
    assert [(lost.query_id, lost.answer, dict(lost.ranks), lost.first) for lost in failures.lost] == [
        item[2:] for item in expected
    ]
    assert all(list(lost.ranks) == DIMS for lost in failures.lost)
    assert all(lost.query == rankings.data.queries[lost.query_id] for lost in failures.lost)


def test_counts(rankings: Rankings, failures: Failures) -> None:
    ranks = {dim: [rank(rankings, dim, row) for row in range(60)] for dim in DIMS}
    first = [row for row in range(60) if ranks[64][row] == 1]
    assert (failures.queries, failures.top, failures.dims) == (60, 10, DIMS)
    assert failures.found_first == len(first) > 5
    assert failures.lost_first == {dim: sum(ranks[dim][row] != 1 for row in first) for dim in (32, 16)}
    assert failures.lost_top == {dim: sum((ranks[dim][row] or 1000) > 10 for row in first) for dim in (32, 16)}
    assert 0 < failures.lost_top[16] <= failures.lost_first[16]


def test_a_copy_does_not_beat_the_right_answer() -> None:
    rankings = planted(30, 60, [64], copies=30, levels=40)  # every document has a copy
    assert rankings.as_is[64].first_hit_Q.tolist() != rankings.merged[64].first_hit_Q.tolist()
    for failure in find_failures(rankings, [64], n=30).hardest[64]:
        words = {text.casefold().strip("!") for text, _ in failure.beaten_by}
        assert failure.answer.casefold().strip("!") not in words


def test_fewer_hits_than_ten_and_one_dim() -> None:
    failures = find_failures(planted(20, 30, [64], depth=5), [64])
    assert failures.top == 5
    assert failures.lost == () and failures.lost_first == failures.lost_top == {}


def test_a_ranking_in_which_queries_find_nothing(rankings: Rankings) -> None:
    ranking = rankings.merged[64]
    empty = replace(
        ranking,
        documents_Qk=torch.full_like(ranking.documents_Qk, -1),
        similarities_Qk=torch.full_like(ranking.similarities_Qk, -torch.inf),
        relevant_Qk=torch.zeros_like(ranking.relevant_Qk),
        first_hit_Q=torch.zeros_like(ranking.first_hit_Q),
    )
    failures = find_failures(replace(rankings, merged={NO_DIM: empty}), [NO_DIM])
    assert [failure.beaten_by for failure in failures.hardest[NO_DIM]] == [()] * 10
    assert {failure.rank for failure in failures.hardest[NO_DIM]} == {None}


def test_it_is_ready_for_json(failures: Failures) -> None:
    plain = json.loads(json.dumps(asdict(failures), allow_nan=False))
    assert list(plain["hardest"]) == ["64", "32", "16"]
    assert plain["lost"][0]["ranks"].keys() == {"64", "32", "16"}
    assert plain["hardest"]["64"][0]["query_id"] == failures.hardest[64][0].query_id
    assert plain["lost_first"]["16"] == failures.lost_first[16]
