"""Equal texts have equal numbers, whatever their column, their prompt, or the chunk of Arrow that they lie in."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset, concatenate_datasets

from matryoshka.data.equal_texts import text_numbers
from matryoshka.data.samplers import NoDuplicatesSampler

ROWS = 11
PAIRS = Dataset.from_dict(
    {
        "anchor": [[0, 10 + i, 2] for i in range(ROWS)],
        "positive": [[0, 40 + i // 2, 41, 2] for i in range(ROWS)],  # two rows share each passage
        "negative_1": [[0, *range(60, 61 + i), 2] for i in range(ROWS)],
    }
)


def test_numbers_are_equal_where_the_ids_are() -> None:
    numbers = text_numbers(PAIRS)

    texts = [[tuple(PAIRS[row][column]) for column in PAIRS.column_names] for row in range(ROWS)]
    flat: Sequence[tuple[int, ...]] = [text for row in texts for text in row]
    flat_numbers = [number for row in numbers for number in row]
    for text, number in zip(flat, flat_numbers, strict=True):
        for other, other_number in zip(flat, flat_numbers, strict=True):
            assert (text == other) == (number == other_number)
    assert [len(row) for row in numbers] == [3] * ROWS


def test_equal_texts_of_two_columns_have_one_number() -> None:
    pairs = Dataset.from_dict({"anchor": [[0, 5, 2], [0, 6, 2]], "positive": [[0, 7, 2], [0, 5, 2]]})

    numbers = text_numbers(pairs)
    assert numbers[0][0] == numbers[1][1]
    assert len({number for row in numbers for number in row}) == 3
    assert [len(batch) for batch in NoDuplicatesSampler(numbers, 2)] == [1, 1]


def test_numbers_of_selected_and_joined_rows() -> None:
    """Arrow keeps such rows in chunks and by reference; the numbers are those of the rows all the same."""
    rows = concatenate_datasets([PAIRS.select([4, 1, 0]), PAIRS.select(range(2, 5))])
    numbers = text_numbers(rows)

    texts = [[tuple(row[column]) for column in PAIRS.column_names] for row in rows]
    for i, row in enumerate(numbers):
        for j, other in enumerate(numbers):
            for a, number in enumerate(row):
                assert [number == k for k in other] == [texts[i][a] == text for text in texts[j]]


def test_a_question_and_a_passage_of_one_text_are_equal_despite_their_prompts() -> None:
    texts = Dataset.from_dict({"anchor": ["Haus", "Auto", "Rad"], "positive": ["Auto", "Rad", "See"]})
    ids = Dataset.from_dict({"anchor": [[1, 5], [1, 6], [1, 7]], "positive": [[2, 6], [2, 7], [2, 8]]})

    rows = text_numbers(ids, texts)
    assert rows[0][1] == rows[1][0]
    assert rows[1][1] == rows[2][0]
    assert len({number for row in rows for number in row}) == 4
    assert len({number for row in text_numbers(ids) for number in row}) == 6


def test_texts_that_differ_behind_the_cut_only_are_equal_and_so_is_what_equals_them() -> None:
    texts = Dataset.from_dict({"anchor": ["a", "b", "long 2"], "positive": ["long 1", "long 2", "x"]})
    ids = Dataset.from_dict({"anchor": [[1, 5], [1, 6], [1, 9]], "positive": [[2, 9], [2, 9], [2, 8]]})

    rows = text_numbers(ids, texts)
    assert rows[0][1] == rows[1][1] == rows[2][0]
    assert len({number for row in rows for number in row}) == 4
