"""The search, the thresholds and the choice against what a person would do by hand, on real texts with copies."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matryoshka.config.binding import out_of_range
from matryoshka.config.signatures import parameters_of
from matryoshka.errors import UserError
from matryoshka.evaluation.bm25 import BM25
from matryoshka.mining.candidates import Candidates
from matryoshka.mining.choosing import chosen_rows
from matryoshka.mining.kept_search import KeptSearch
from matryoshka.mining.mining import Mining
from matryoshka.mining.scored import RowSearch, ScoredRows
from matryoshka.mining.scorers import CosineScorer
from matryoshka.mining.searchers import BM25Searcher, EncoderSearcher, Searcher
from matryoshka.mining.tally import Tally
from matryoshka.projection.pair_vectors import PairVectors
from tests.mining import obvious
from tests.mining.obvious import Texts
from tests.real_pairs import rows_of

CPU = torch.device("cpu")


def some_texts() -> Texts:
    """German pairs; the first question has three answers, the second is asked anew, and passages have copies."""
    rows = rows_of("train", 36)
    anchors, positives = [row["anchor"] for row in rows], [row["positive"] for row in rows]
    anchors[5] = anchors[9] = anchors[0].upper() + "!"  # copies of a question, each with an answer of its own
    anchors[11] = positives[20]  # a question that is a passage
    positives[14] = positives[2].replace(" ", "  ")  # a copy of a passage
    positives[15] = positives[2]
    return Texts(tuple(anchors), tuple(positives), (positives[30].upper(), "nowhere"))


TEXTS = some_texts()


def some_vectors(texts: Texts) -> PairVectors:
    """Crowded as those of E5: each is a common part and a part of its own; equal texts have equal ones."""
    generator = torch.Generator().manual_seed(3)
    distinct = list(dict.fromkeys([*texts.anchors, *texts.positives]))
    own_ND = torch.randn(len(distinct), 24, generator=generator) + 2
    vector = dict(zip(distinct, own_ND, strict=True))
    for anchor, positive in zip(texts.anchors, texts.positives, strict=True):
        vector[anchor] = vector[anchor] + 0.8 * vector[positive]
    rows = torch.arange(len(texts.anchors))
    anchors_ND, positives_ND = (
        torch.stack([vector[text] for text in side]) for side in (texts.anchors, texts.positives)
    )
    return PairVectors(anchors_ND, positives_ND, rows, rows)


VECTORS = some_vectors(TEXTS)


def searched(mining: Mining, part: int = 7) -> tuple[RowSearch, list[ScoredRows]]:
    candidates = Candidates.of(TEXTS.anchors, TEXTS.positives, TEXTS.answers)
    both: dict[str, Searcher] = {
        "encoder": EncoderSearcher("tiny", VECTORS, candidates, CPU),
        "bm25": BM25Searcher(BM25(), TEXTS.anchors, candidates),
    }
    used = [searcher for name, searcher in both.items() if mining.search in (name, "both")]
    search = RowSearch(mining, candidates, used, CosineScorer("tiny", VECTORS, candidates))
    rows = range(len(TEXTS.anchors))
    return search, [search(rows[start : start + part]) for start in range(0, len(rows), part)]


def mined(mining: Mining, part: int = 7, seed: int = 42) -> tuple[dict[int, Any], dict[str, Any]]:
    """row -> its negatives as (row of the passage, rank), and the numbers."""
    search, parts = searched(mining, part)
    tally = Tally(mining, search.candidates, TEXTS.anchors, TEXTS.positives, lambda row: row + 1)
    found = {}
    for part_ in parts:
        refused_by_RD = search.thresholds.refused_by(search.scorer, part_.scores_RD, part_.positive_R)
        chosen = chosen_rows(part_, refused_by_RD, mining, seed)
        tally.add(part_, refused_by_RD, chosen)
        for place, row in enumerate(chosen.rows):
            passages = [search.candidates.rows[c] for c in chosen.candidates_MK[place].tolist()]
            found[row] = list(zip(passages, chosen.ranks_MK[place].tolist(), strict=True))
    return found, tally.numbers()


@cache
def random_similarity() -> float:
    pairs = list(product(range(len(TEXTS.anchors)), obvious.pool(TEXTS)))
    return sum(obvious.cosine(VECTORS.anchors_AD[row], VECTORS.positives_PD[c]) for row, c in pairs) / len(pairs)


def by_hand(mining: Mining) -> tuple[dict[int, Any], int, int]:
    anchors_ND, positives_ND, mu = VECTORS.anchors_AD, VECTORS.positives_PD, random_similarity()
    found, considered, refused = {}, 0, 0
    for row in range(len(TEXTS.anchors)):
        similarity = obvious.cosine_score(anchors_ND, positives_ND, row)
        ways = {"encoder": similarity, "bm25": obvious.bm25_score(TEXTS, row)}
        depth = 2 * mining.last
        rankings = [
            obvious.ranking_by(TEXTS, row, score) for name, score in ways.items() if mining.search in (name, "both")
        ]
        ranking = obvious.fused(rankings, depth) if len(rankings) > 1 else rankings[0]
        some, looked_at, left = obvious.negatives(TEXTS, mining, ranking[:depth], similarity, similarity(row), mu)
        considered, refused = considered + looked_at, refused + left
        if some:
            found[row] = some
    return found, considered, refused


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"relative": None},
        {"relative": None, "absolute": 0.1, "ranks": (3, 9)},
        {"ranks": (2, 6), "per_row": 5, "relative": 0.3},
        {"ranks": (1, 4), "per_row": 2, "relative": 0.05},
        {"ranks": (1, 30), "absolute": -0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("search", ["encoder", "bm25", "both"])
def test_it_finds_what_a_person_would(search: Any, options: dict[str, Any]) -> None:
    mining = Mining(search=search, **options)

    found, numbers = mined(mining)
    expected, considered, refused = by_hand(mining)

    assert found == expected
    assert (numbers["considered"], sum(numbers["refused"].values())) == (considered, refused)
    assert numbers["mined"] + numbers["left_out"] == len(TEXTS.anchors)
    distinct = [set(some) for some in expected.values()]
    assert numbers["negatives"] == sum(map(len, distinct))
    assert numbers["repeated"] == mining.per_row * len(expected) - sum(map(len, distinct))
    assert numbers["beyond"] == sum(rank > mining.last for some in distinct for _, rank in some)
    ranks = [rank for some in distinct for _, rank in some]
    assert numbers["mean_rank"] == pytest.approx(sum(ranks) / max(1, len(ranks)))


def test_the_cases_are_all_met() -> None:
    """Else the comparison above would say little."""
    _, few = mined(Mining(ranks=(1, 4), per_row=2, relative=0.05))
    _, none = mined(Mining(ranks=(1, 30), absolute=-0.5))
    _, words = mined(Mining(search="bm25", ranks=(2, 6), per_row=5, relative=0.3))

    assert few["beyond"] and few["refused"]["relative"]
    assert none["left_out"] and none["mined"] and none["refused"]["absolute"]
    assert words["repeated"]


@pytest.mark.parametrize("search", ["encoder", "bm25", "both"])
def test_parts_change_nothing(search: Any) -> None:
    mining = Mining(search=search, ranks=(1, 8), relative=0.4)

    assert mined(mining, part=1) == mined(mining, part=36)


def test_what_is_right_is_never_a_negative() -> None:
    found, _ = mined(Mining(relative=None, ranks=(1, 36), per_row=20))

    for row, some in found.items():
        for passage, _ in some:
            assert not obvious.is_right(TEXTS, row, TEXTS.positives[passage])
            assert TEXTS.positives[passage].upper() != TEXTS.answers[0]
    assert {0, 5, 9}.isdisjoint(passage for row in (0, 5, 9) for passage, _ in found[row])
    assert 20 not in [passage for passage, _ in found[11]]
    assert Candidates.of(TEXTS.anchors, TEXTS.positives, TEXTS.answers).held_out == 1


def test_random_picks_are_of_the_seed_and_pass_the_thresholds() -> None:
    top, _ = mined(Mining(relative=0.8))
    everything, _ = mined(Mining(relative=0.8, per_row=36))
    one, other = (mined(Mining(relative=0.8, pick="random"), seed=seed)[0] for seed in (1, 2))

    assert one == mined(Mining(relative=0.8, pick="random"), part=36, seed=1)[0]
    assert one != other and one != top
    for row, some in one.items():
        assert set(some) <= set(everything[row]) and [rank for _, rank in some] == sorted(rank for _, rank in some)


def test_random_pairs_are_rescaled_to_zero() -> None:
    search, _ = searched(Mining())
    every = [search.scorer.scores([row], [c])[0] for row in range(36) for c in search.candidates.rows]

    assert search.scorer.random > 0.5  # crowded
    assert search.scorer.rescaled(np.array(every)).mean() == pytest.approx(0, abs=1e-6)
    assert search.scorer.rescaled(np.ones(1)) == pytest.approx(1)


def test_a_kept_search_is_read_and_not_made_again(tmp_path: Path) -> None:
    search, _ = searched(Mining(ranks=(1, 5)))
    first = list(KeptSearch(tmp_path, "a", 36, at_once=10).searched(search, lambda _: None))

    def never(rows: Any) -> Any:
        raise AssertionError(rows)

    told: list[int] = []
    kept = KeptSearch(tmp_path, "a", 36, at_once=10)
    again = list(kept.searched(never, told.append))

    assert (kept.done, told) == (36, [10, 10, 10, 6])
    for one, other in zip(first, again, strict=True):
        assert list(one.rows) == list(other.rows)
        for name in ("candidates_RD", "scores_RD", "positive_R"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_damaged_part_is_searched_again_and_one_of_other_data_is_refused(tmp_path: Path) -> None:
    search, _ = searched(Mining(ranks=(1, 5)))
    whole = list(KeptSearch(tmp_path, "a", 36, at_once=18).searched(search, lambda _: None))
    part = tmp_path / "search" / "000001.safetensors"
    part.write_bytes(part.read_bytes()[:100])

    mended = list(KeptSearch(tmp_path, "a", 36, at_once=18).searched(search, lambda _: None))

    np.testing.assert_array_equal(whole[1].candidates_RD, mended[1].candidates_RD)
    with pytest.raises(UserError, match=r"000000.safetensors: the data's or the model's files"):
        list(KeptSearch(tmp_path, "b", 36, at_once=18).searched(search, lambda _: None))


@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"ranks": (1,)}, "ranks", "[1] are not two"),
        ({"ranks": (5, 2)}, "ranks", "[5, 2] do not rise from 1"),
        ({"ranks": (0, 2)}, "ranks", "[0, 2] do not rise from 1"),
        ({"ranks": (1, 20_000)}, "ranks", "to 10,000 at most"),
        ({"ranks": (9, 10)}, "ranks", "fewer than per_row=3"),
        ({"cross_encoder": "./nowhere"}, "cross_encoder", "./nowhere does not exist"),
        ({"cross_encoder": "embedded:e5_small"}, "cross_encoder", "is no cross-encoder"),
    ],
    ids=str,
)
def test_mistakes_are_told_before_anything_is_read(options: dict[str, Any], key: str, message: str) -> None:
    ((found, said),) = Mining(**options).problems()

    assert found == key
    assert message in said


@pytest.mark.parametrize("values", [{"per_row": 0}, {"relative": 0.0}, {"relative": 1.5}, {"absolute": 1.1}], ids=str)
def test_numbers_out_of_range_are_told(values: dict[str, Any]) -> None:
    assert list(out_of_range("mining", values, parameters_of("matryoshka.mining.mining.Mining")))
