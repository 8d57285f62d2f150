"""Texts and numbers of a source told apart, and the numbers of a batch as matrices, against loops."""

from __future__ import annotations

import math

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.data.packing import number_matrices
from matryoshka.data.pairs import kinds, texts_and_numbers
from matryoshka.errors import DataError

TEXTS = {"anchor": ["a", "b"], "positive": ["p", "q"], "negative_1": ["x", "y"], "negative_2": ["v", "w"]}


def by_loop(table: dict[str, list[float | None]], candidates: list[str], rows: int) -> dict[str, list[list[float]]]:
    """Each number put at its row and its candidate, one by one."""
    matrices: dict[str, list[list[float]]] = {}
    for column, values in table.items():
        candidate = next(name for name in candidates if column.startswith(f"{name}_"))
        kind = column.removeprefix(f"{candidate}_")
        empty = [[math.nan] * (rows * len(candidates)) for _ in range(rows)]
        matrix = matrices.setdefault(f"{kind}_BN", empty)
        for row, value in enumerate(values):
            matrix[row][candidates.index(candidate) * rows + row] = math.nan if value is None else float(value)
    return matrices


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_the_matrices_equal_a_loop(data: st.DataObject) -> None:
    rows, negatives = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 11))
    candidates = ["positive", *(f"negative_{i}" for i in range(1, negatives + 1))]
    names = [f"{candidate}_{kind}" for candidate in candidates for kind in ("teacher", "bm25_rank")]
    number = st.one_of(st.none(), st.integers(-5, 5), st.booleans(), st.floats(-2, 2, width=32))
    drawn = [name for name in names if data.draw(st.booleans())]
    table = {name: data.draw(st.lists(number, min_size=rows, max_size=rows)) for name in drawn}

    found = number_matrices(table, candidates)
    expected = by_loop(table, candidates, rows)

    assert found.keys() == expected.keys()
    for kind, matrix in expected.items():
        assert found[kind].flatten().tolist() == pytest.approx([value for row in matrix for value in row], nan_ok=True)


def test_columns_are_told_apart_in_their_order() -> None:
    numbers = {"positive_teacher": [1.0, 0.5], "negative_2_teacher": [0, 1], "negative_1_seen": [True, False]}
    mixed = {"positive_teacher": numbers.pop("positive_teacher"), **TEXTS, **numbers}

    texts, found = texts_and_numbers(Dataset.from_dict(mixed), "mine")

    assert texts.to_dict() == TEXTS and texts.column_names == list(TEXTS)
    assert found is not None
    assert found.to_dict() == {name: mixed[name] for name in mixed if name not in TEXTS}
    assert kinds(found) == {"teacher_BN", "seen_BN"}


def test_texts_alone_have_no_numbers() -> None:
    texts, numbers = texts_and_numbers(Dataset.from_dict(TEXTS), "mine")
    assert texts.to_dict() == TEXTS
    assert numbers is None and kinds(numbers) == set()


@pytest.mark.parametrize("column", ["id", "anchor_teacher", "negative_3_teacher", "positive_", "positive_2"])
def test_a_column_of_numbers_named_after_no_candidate_is_refused(column: str) -> None:
    with pytest.raises(DataError, match=f"mine: column '{column}' has numbers and is not named after a candidate"):
        texts_and_numbers(Dataset.from_dict({**TEXTS, column: [1, 2]}), "mine")
