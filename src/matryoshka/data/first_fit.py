"""Rows in batches without two equal texts in one: each row in the first batch that can take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


def shared_texts(texts: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """For every row those of its texts that other rows have too; most rows have none."""
    distinct = [tuple(dict.fromkeys(row)) for row in texts]
    rows_with = Counter(text for row in distinct for text in row)
    return [tuple(text for text in row if rows_with[text] > 1) for row in distinct]


def first_fit(
    order: Iterable[int], shared: Sequence[Sequence[int]], batch_size: int, most: int | None = None
) -> list[list[int]]:
    """Put each row, in the given order, into the first batch with room and without any of its texts.

    shared: per row the texts that other rows have too. most: only so many batches, with room for all rows; a row that
    none of those with room can take without a clash comes into the first of them.

    Filling one batch after the other, each with the first rows left that do not clash (as sentence-transformers'
    no_duplicates sampler does), gives the same batches, but scans the waiting rows again for every batch.
    """
    batches: list[list[int]] = []
    room = _FirstFree()  # of batches that are not full
    without: dict[int, _FirstFree] = {}  # of batches that do not have the text
    for row in order:
        place = room.since(0)
        if shared[row]:
            free = [room, *(without.setdefault(text, _FirstFree()) for text in shared[row])]
            place = _first_free_of_all(free, place)
            if most is not None and place >= most:
                place = room.since(0)
            for taken in free[1:]:
                taken.take(place)
        if place == len(batches):
            batches.append([])
        batches[place].append(row)
        if len(batches[place]) == batch_size:
            room.take(place)
    return batches


class _FirstFree:
    """The first number from i on that was not taken: a union-find, so runs of taken numbers cost one step."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def since(self, i: int) -> int:
        following = self._next
        end = i
        while end in following:
            end = following[end]
        while i != end:
            following[i], i = end, following[i]
        return end

    def take(self, i: int) -> None:
        self._next[i] = i + 1


def _first_free_of_all(free: Sequence[_FirstFree], place: int) -> int:
    while True:
        start = place
        for numbers in free:
            place = numbers.since(place)
        if place == start:
            return place
