"""What each epoch draws of each row, and what is no negative then, against loops over texts."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.data.draws import DrawnColumn, Draws
from matryoshka.data.negatives import EveryOther, KnownPositives
from matryoshka.data.pools import Pool, Pools
from matryoshka.data.samplers import NoDuplicatesSampler, ShuffledSampler

Row = tuple[str, list[str], list[str]]  # anchor, positives, negatives
ROWS: list[Row] = [
    ("q0", ["a", "b", "c"], ["n0", "n1", "n2", "n3", "n4"]),
    ("q1", ["d"], ["n0"]),
    ("q2", ["a", "e"], []),
    ("q0", ["f"], ["b", "n5", "n5"]),
    ("q3", ["g", "h"], ["n6", "g", "q3"]),
]


def pool(lists: list[list[str]], number: dict[str, int], scores: bool = False) -> Pool:
    flat = [number.setdefault(text, len(number)) for texts in lists for text in texts]
    offsets = np.cumsum([0, *map(len, lists)])
    return Pool(offsets, np.array(flat, np.int64), np.array(flat, np.float32) / 8 if scores else None)


def draws_of(rows: list[Row], negatives: int, seed: int = 3, scores: bool = False) -> tuple[Draws, list[str]]:
    """Draws, and all texts by their numbers."""
    number: dict[str, int] = {}
    sides = [pool([row[side] for row in rows], number, scores) for side in (1, 2)]
    documents = list(number)
    anchors = [number.setdefault(row[0], len(number)) for row in rows]
    return Draws(Pools(documents, *sides), negatives, seed, anchors, range(len(documents))), list(number)


def texts_of(draws: Draws, texts: list[str], draw: int) -> list[str]:
    return [texts[number] for number in draws[draw]]


def test_a_draw_has_a_positive_and_negatives_of_its_row() -> None:
    draws, texts = draws_of(ROWS, 2)
    for draw in range(40):
        anchor, positives, negatives = ROWS[draw % len(ROWS)]
        found = texts_of(draws, texts, draw)
        assert found[0] == anchor and found[1] in positives
        assert set(found[2:]) <= set(negatives or [found[1]])
        assert [texts[i] for i in draws.documents([draw])[0]] == found[1:]


def test_all_texts_are_drawn_before_any_comes_again() -> None:
    draws, texts = draws_of(ROWS, 2)
    rows = len(ROWS)
    found = [texts_of(draws, texts, epoch * rows) for epoch in range(15)]
    for start in range(0, 15, 3):
        assert {positive for _, positive, *_ in found[start : start + 3]} == {"a", "b", "c"}
    counts = Counter(text for epoch in found[:5] for text in epoch[2:])  # five epochs of two, of five negatives
    assert counts == dict.fromkeys(["n0", "n1", "n2", "n3", "n4"], 2)
    assert all(one != other for _, _, one, other in found)
    assert len({tuple(epoch[2:]) for epoch in found}) > 1


def test_a_draw_is_the_same_in_whatever_batch_and_another_with_another_seed() -> None:
    draws, _ = draws_of(ROWS, 2)
    order = list(range(50))
    random.Random(0).shuffle(order)
    together = draws.documents(order).tolist()
    assert together == [draws.documents([draw]).tolist()[0] for draw in order]
    assert draws_of(ROWS, 2)[0].documents(order).tolist() == together
    assert draws_of(ROWS, 2, seed=4)[0].documents(order).tolist() != together
    assert draws.documents(range(5)).tolist() != draws.documents(range(5, 10)).tolist()


def mask_by_loop(rows: list[Row], drawn: list[list[str]], batch: list[int]) -> list[list[bool]]:
    """Each candidate of each row looked at alone."""
    size, columns = len(batch), len(drawn[0]) - 1
    mask = []
    for i in batch_places(batch):
        anchor = drawn[i][0]
        right = {text for j in batch for text in rows[j % len(rows)][1] if rows[j % len(rows)][0] == anchor}
        line = []
        for column in range(columns):
            for j in range(size):
                own = drawn[j][1:]
                again = column > 0 and own[column] in own[:column]
                line.append((own[column] in right or again) and not (column == 0 and j == i))
        mask.append(line)
    return mask


def batch_places(batch: list[int]) -> range:
    return range(len(batch))


texts = st.sampled_from("abcdefgh")
row = st.tuples(texts, st.lists(texts, min_size=1, max_size=3), st.lists(texts, max_size=4))


@settings(deadline=None, max_examples=150)
@given(st.lists(row, min_size=1, max_size=6), st.integers(0, 3), st.data())
def test_the_mask_equals_a_loop(rows: list[Row], negatives: int, data: st.DataObject) -> None:
    draws, names = draws_of(rows, negatives)
    batch = data.draw(
        st.lists(st.integers(0, 4 * len(rows) - 1), min_size=1, max_size=5, unique_by=lambda x: x % len(rows))
    )
    expected = mask_by_loop(rows, [texts_of(draws, names, draw) for draw in batch], batch)

    found = draws.mask(batch)
    assert (found.tolist() if found is not None else None) == (expected if np.any(expected) else None)


def test_scores_stand_at_their_texts_and_nowhere_else() -> None:
    draws, names = draws_of(ROWS, 3, scores=True)
    batch = list(range(10))
    found = draws.scores(batch)
    assert list(found) == ["positive_teacher", "negative_1_teacher", "negative_2_teacher", "negative_3_teacher"]
    for place, draw in enumerate(batch):
        drawn, wrong = texts_of(draws, names, draw), ROWS[draw % len(ROWS)][2]
        assert found["positive_teacher"][place] == draws.pools.texts.index(drawn[1]) / 8
        for i, text in enumerate(drawn[2:]):
            score = found[f"negative_{i + 1}_teacher"][place]
            assert np.isnan(score) if i >= len(wrong) else score == draws.pools.texts.index(text) / 8
    assert draws_of(ROWS, 3)[0].scores(batch) == {}


def test_no_batch_has_a_text_twice_or_another_positive_of_one_of_its_rows() -> None:
    generator = random.Random(0)
    rows: list[Row] = [
        (f"q{i}", generator.sample([f"p{k}" for k in range(40)], 3), generator.sample([f"p{k}" for k in range(40)], 4))
        for i in range(30)
    ]
    rows = [(anchor, right, [text for text in wrong if text not in right]) for anchor, right, wrong in rows]
    draws, names = draws_of(rows, 2)
    sampler = NoDuplicatesSampler(draws, 6, seed=1)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(sampler.batches())
        assert sorted(row for batch in sampler.batches() for row in batch) == list(range(30))
        for batch in sampler.batches():
            drawn = {row: set(texts_of(draws, names, epoch * 30 + row)) for row in batch}
            for one in batch:
                for other in batch:
                    if one != other:
                        assert not drawn[one] & drawn[other]
                        assert not set(rows[one][1]) & drawn[other]
    assert orders[0] != orders[1]
    sampler.set_epoch(0)
    assert sampler.batches() == orders[0]


def test_other_positives_are_no_negatives_where_rows_do_meet() -> None:
    rows: list[Row] = [("q0", ["a", "b"], []), ("q1", ["b", "c"], []), ("q2", ["d"], [])]
    draws, names = draws_of(rows, 0)
    meeting = [draw for draw in range(3, 30, 3) if texts_of(draws, names, draw)[1] == "a"]
    other = [draw for draw in range(4, 31, 3) if texts_of(draws, names, draw)[1] == "b"]
    mask = draws.mask([meeting[0], other[0], 2])
    assert mask is not None and mask.tolist() == [[False, True, False], [False] * 3, [False] * 3]


def test_negatives_of_the_project_know_the_draws() -> None:
    draws, _ = draws_of([("q0", ["a", "b"], ["x"]), ("q1", ["c"], ["b"]), ("q2", ["d"], ["y"])], 1)
    assert EveryOther(draws, None).mask([0, 1, 2]) is None  # type: ignore[arg-type]
    known = KnownPositives(draws, None).mask([3, 4, 5])  # type: ignore[arg-type]
    assert known is not None and known.tolist() == [[False, False, False, False, True, False], [False] * 6, [False] * 6]


@pytest.mark.parametrize("sampler", [ShuffledSampler, NoDuplicatesSampler])
def test_the_first_epochs_texts_are_those_of_a_sequence(sampler: type[ShuffledSampler]) -> None:
    draws, _ = draws_of(ROWS, 2)
    assert [draws[i] for i in range(len(draws))] == list(draws)
    assert sampler(draws, 2).summary().batches >= 3


def test_columns_of_a_table_are_chosen_by_draw() -> None:
    draws, _ = draws_of(ROWS, 2)
    places = torch.arange(len(draws.documents_U)) + 100
    batch = [7, 1, 12]
    assert DrawnColumn(draws, places, 1)[batch].tolist() == (draws.documents(batch)[:, 1] + 100).tolist()
    assert DrawnColumn(draws, torch.tensor([9, 8, 7, 6, 5]))[torch.tensor(batch)].tolist() == [7, 8, 7]
