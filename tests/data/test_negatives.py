"""The mask of a batch against a loop over its rows and candidates."""

from __future__ import annotations

from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.data.negatives import EveryOther, KnownPositives
from matryoshka.data.samplers import BatchSummary


def mask(rows: list[list[int]]) -> list[list[int]] | None:
    """Of a batch of all these rows: anchor, positive, negatives."""
    mask_BN = KnownPositives(rows, Dataset.from_dict({})).mask(range(len(rows)))
    return None if mask_BN is None else mask_BN.int().tolist()


def test_without_copies_there_is_no_mask() -> None:
    assert mask([[1, 3], [2, 4]]) is None


def test_negatives_that_repeat_are_negatives_still() -> None:
    assert mask([[1, 3, 5], [2, 4, 5]]) is None


def test_rows_of_one_passage_leave_each_other_out() -> None:
    assert mask([[1, 7], [2, 7], [3, 8]]) == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_every_copy_of_a_right_answer_is_left_out() -> None:
    """Question 1 has two answers, 7 and 8; the second stands in the batch for another question too."""
    assert mask([[1, 7], [1, 8], [2, 8]]) == [[0, 1, 1], [1, 0, 1], [0, 1, 0]]


def test_an_answer_whose_row_is_elsewhere_is_left_out() -> None:
    """Question 1 is answered by 8 too, in a row of another batch: here 8 stands for question 2, and as a negative."""
    rows = [[1, 7, 20], [2, 8, 21], [3, 9, 8], [1, 8, 22]]
    mask_BN = KnownPositives(rows, Dataset.from_dict({})).mask([0, 1, 2])
    assert mask_BN is not None
    assert mask_BN.int().tolist() == [[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]


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
    every, known = (kind([[0, 1], [0, 2]], Dataset.from_dict({})) for kind in (EveryOther, KnownPositives))
    assert [every.masks(summary) for summary in summaries] == [False, False, False]
    assert [known.masks(summary) for summary in summaries] == [False, True, True]
    assert every.mask([0, 1]) is None
