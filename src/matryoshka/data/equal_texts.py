"""Which texts of the training pairs are equal, and rows in batches without two equal texts in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset


def text_numbers(ids: Dataset, texts: Dataset | None = None) -> list[tuple[int, ...]]:
    """A number for each text of every row; equal texts have equal numbers, in whatever column.

    ids: the token ids. texts: the same rows before they were tokenized. Two texts are equal if their ids are (the
    model cannot tell what differs behind the cut) or if they were before they got a prompt and were cut.
    """
    found: dict[bytes, int] = {}
    table = ids.with_format("arrow")
    columns = [
        [found.setdefault(key, len(found)) for chunk in table[name].chunks for key in _ids_as_bytes(chunk)]
        for name in ids.column_names
    ]
    if texts is not None:
        from networkx.utils import UnionFind

        groups, first = UnionFind(range(len(found))), dict[str, int]()
        for name, numbers in zip(ids.column_names, columns, strict=True):
            for text, number in zip(texts[name], numbers, strict=True):
                groups.union(number, first.setdefault(text, number))
        columns = [[groups[number] for number in numbers] for numbers in columns]
    return list(zip(*columns, strict=True))


def _ids_as_bytes(lists: Any) -> Iterator[bytes]:
    """Each list of an Arrow array; as bytes, since lists of Python's numbers take twenty times as long."""
    offsets = lists.offsets.to_numpy().astype(np.int64) * np.dtype(np.int64).itemsize
    values = lists.values.to_numpy(zero_copy_only=False).astype(np.int64).tobytes()
    return (values[start:end] for start, end in pairwise(offsets.tolist()))


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
