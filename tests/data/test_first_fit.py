"""First fit against filling one batch after the other; linear however many rows share a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.data.first_fit import _FirstFree, first_fit, shared_texts

Rows = Sequence[tuple[int, ...]]
ROWS, BATCH = 5_000, 16


def batch_after_batch(order: Sequence[int], texts: Rows, batch_size: int) -> list[list[int]]:
    """The obvious way: scan the waiting rows from their head for every batch."""
    waiting, batches = list(order), []
    while waiting:
        batch: list[int] = []
        for row in waiting:
            inside = {text for other in batch for text in texts[other]}
            if len(batch) < batch_size and not inside & set(texts[row]):
                batch.append(row)
        batches.append(batch)
        waiting = [row for row in waiting if row not in batch]
    return batches


some_rows = st.lists(st.tuples(st.integers(0, 5), st.integers(4, 9), st.integers(0, 30)), max_size=40)


@settings(deadline=None, max_examples=300)
@given(some_rows, st.integers(1, 9), st.randoms(use_true_random=False))
def test_equals_filling_batch_after_batch(texts: Rows, batch_size: int, random: object) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]

    assert first_fit(order, shared_texts(texts), batch_size) == batch_after_batch(order, texts, batch_size)


@settings(deadline=None, max_examples=200)
@given(some_rows, st.integers(1, 9))
def test_at_most_so_many_batches_hold_every_row(texts: Rows, batch_size: int) -> None:
    most = -(-len(texts) // batch_size)
    batches = first_fit(range(len(texts)), shared_texts(texts), batch_size, most)

    assert sorted(row for batch in batches for row in batch) == list(range(len(texts)))
    assert len(batches) == most
    assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_a_row_clashes_only_where_no_batch_is_free_of_its_texts() -> None:
    texts = [(0, 9), (1, 9), (2, 8), (3, 9), (4, 7), (5, 6)]

    assert first_fit(range(6), shared_texts(texts), 2, most=3) == [[0, 2], [1, 4], [3, 5]]
    assert first_fit(range(6), shared_texts(texts), 3, most=2) == [[0, 2, 3], [1, 4, 5]]


def test_shared_texts_are_those_of_several_rows() -> None:
    assert shared_texts([(1, 2), (2, 2), (3, 1), (4, 4)]) == [(1, 2), (2,), (1,), ()]


def hub(rows: int, share: float) -> Rows:
    """Rows of which a share has one and the same passage."""
    return [(row, rows + (0 if row < share * rows else row)) for row in range(rows)]


def two_hubs(rows: int) -> Rows:
    """A question of many passages and a passage of many questions, and rows that have both."""
    return [((0, 1), (0, 10 + row), (10 + row, 1))[row % 3] for row in range(rows)]


SHAPES = [partial(hub, share=0), partial(hub, share=0.3), partial(hub, share=1), two_hubs]


@pytest.mark.parametrize("texts_of", SHAPES, ids=["none", "30%", "all", "two"])
@pytest.mark.parametrize("masked", [False, True])
def test_twice_the_rows_take_twice_the_steps(
    monkeypatch: pytest.MonkeyPatch, texts_of: Callable[[int], Rows], masked: bool
) -> None:
    """A step is a look at one number: whether a batch is full, or has a text."""
    looks = 0

    class Watched(dict[int, int]):
        def __contains__(self, number: object) -> bool:
            nonlocal looks
            looks += 1
            return super().__contains__(number)

    def steps(rows: int) -> int:
        before, shared = looks, shared_texts(texts_of(rows))
        assert sum(map(len, first_fit(range(rows), shared, BATCH, rows // BATCH if masked else None))) == rows
        return looks - before

    monkeypatch.setattr(_FirstFree, "__init__", lambda self: setattr(self, "_next", Watched()))
    assert ROWS < steps(ROWS) < 12 * ROWS
    assert steps(2 * ROWS) < 2.1 * steps(ROWS)
