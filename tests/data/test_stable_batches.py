"""Batches of texts: each text in one, within the budget, and mostly what they were when texts come or go."""

from __future__ import annotations

from matryoshka.data.packing import stable_batches
from matryoshka.data.tokens import TokenIds


def batches_of(lists: list[list[int]]) -> set[tuple[tuple[int, ...], ...]]:
    return {tuple(tuple(lists[i]) for i in batch) for batch in stable_batches(TokenIds.of(lists), 600)}


def test_batches_hold_every_text_once_longest_first_within_the_budget() -> None:
    ids = TokenIds.of([[i] * (1 + i % 40) for i in range(300)])
    batches = list(stable_batches(ids, 64))
    lengths = ids.lengths

    assert sorted(text for batch in batches for text in batch) == list(range(300))
    assert all(sum(lengths[batch]) <= 64 for batch in batches)
    in_order = [lengths[text] for batch in batches for text in batch]
    assert in_order == sorted(in_order, reverse=True)
    assert list(stable_batches(TokenIds.of([]), 64)) == []
    assert list(stable_batches(TokenIds.of([[1] * 9, [2] * 5, [2] * 7]), 3)) == [[0], [2], [1]]


def test_a_text_that_comes_changes_the_batches_near_it_alone() -> None:
    lists = [[i, i // 7, i % 11] * (1 + i % 20) for i in range(1000)]
    before = batches_of(lists)
    after = batches_of([*lists[:500], [5, 4, 3] * 10, *lists[500:]])

    assert len(before) > 50
    assert len(after - before) < len(before) / 10
    assert batches_of(lists[::-1]) == before


def test_copies_do_not_each_open_a_batch() -> None:
    """Of every text, one in ten of which opens a batch."""
    for text in range(50):
        assert len(list(stable_batches(TokenIds.of([[text]] * 200), 10))) == 20


def test_texts_of_no_tokens_are_batched_too() -> None:
    found = list(stable_batches(TokenIds.of([[], [1], []]), 10))
    assert sorted(text for batch in found for text in batch) == [0, 1, 2]
