"""The mask of a batch against a loop over its rows and candidates."""

from __future__ import annotations

import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.data.negatives import EqualTexts, EveryOther, KnownPositives, no_negatives
from matryoshka.data.samplers import BatchSummary


def by_loop(columns: list[list[int]]) -> list[list[bool]]:
    rows = len(columns[0])
    candidates = [(column, row) for column in range(1, len(columns)) for row in range(rows)]

    def left_out(i: int, column: int, row: int) -> bool:
        if (column, row) == (1, i):
            return False
        right = {answer for anchor, answer in zip(columns[0], columns[1], strict=True) if anchor == columns[0][i]}
        return columns[column][row] in {columns[0][i], *right}

    return [[left_out(i, column, row) for column, row in candidates] for i in range(rows)]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_equals_a_loop(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 4))
    batch = [[data.draw(st.integers(0, 6)) for _ in range(rows)] for _ in range(columns)]

    mask_BN = no_negatives(torch.tensor(batch))
    expected = by_loop(batch)
    if mask_BN is None:
        assert not any(any(row) for row in expected)
    else:
        assert mask_BN.dtype == torch.bool
        assert mask_BN.tolist() == expected


def test_without_copies_there_is_no_mask() -> None:
    assert no_negatives(torch.tensor([[1, 2], [3, 4]])) is None


def test_negatives_that_repeat_are_negatives_still() -> None:
    assert no_negatives(torch.tensor([[1, 2], [3, 4], [5, 5]])) is None


def test_rows_of_one_passage_leave_each_other_out() -> None:
    mask_BN = no_negatives(torch.tensor([[1, 2, 3], [7, 7, 8]]))

    assert mask_BN is not None
    assert mask_BN.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_every_copy_of_a_right_answer_is_left_out() -> None:
    """Question 1 has two answers, 7 and 8; the second stands in the batch for another question too."""
    mask_BN = no_negatives(torch.tensor([[1, 1, 2], [7, 8, 8]]))

    assert mask_BN is not None
    assert mask_BN.int().tolist() == [[0, 1, 1], [1, 0, 1], [0, 1, 0]]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_known_positives_equal_a_loop_over_all_pairs(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 8)), data.draw(st.integers(2, 4))
    texts = [[data.draw(st.integers(0, 6)) for _ in range(columns)] for _ in range(rows)]
    batch = data.draw(st.lists(st.integers(0, rows - 1), unique=True, min_size=1))
    candidates = [texts[row][column] for column in range(1, columns) for row in batch]

    expected = []
    for i, row in enumerate(batch):
        right = {texts[other][1] for other in range(rows) if texts[other][0] == texts[row][0]}
        expected.append([n != i and text in {texts[row][0], *right} for n, text in enumerate(candidates)])

    mask_BN = KnownPositives(texts, Dataset.from_dict({})).mask(batch)
    assert (mask_BN is None) == (not any(map(any, expected)))
    assert mask_BN is None or mask_BN.tolist() == expected


def test_each_choice_says_whether_it_leaves_anything_out() -> None:
    summaries = [BatchSummary(3), BatchSummary(3, sharing=2), BatchSummary(3, sharing=2, clashing=1)]
    pairs, texts = Dataset.from_dict({}), [[0, 1], [0, 2]]
    said = {kind: [kind(texts, pairs).masks(summary) for summary in summaries] for kind in (EveryOther, EqualTexts)}
    assert said == {EveryOther: [False] * 3, EqualTexts: [False, False, True]}
    assert [KnownPositives(texts, pairs).masks(summary) for summary in summaries] == [False, True, True]
    assert EveryOther(texts, pairs).mask([0, 1]) is None
