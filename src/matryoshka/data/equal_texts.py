"""Which texts of the training pairs are equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset


def text_numbers(ids: Dataset, texts: Dataset | None = None) -> list[tuple[int, ...]]:
    """A number for each text of every row; equal texts have equal numbers, in whatever column.

    ids: the token ids. texts: the same rows before they were tokenized. Two texts are equal if their ids are (the
    model cannot tell what differs behind the cut) or if they were before they got a prompt and were cut.
    """
    table = ids.with_format("arrow")
    keys = [chain.from_iterable(map(_ids_as_bytes, table[name].chunks)) for name in ids.column_names]
    return list(zip(*equal_numbers(keys, texts and [texts[name] for name in ids.column_names]), strict=True))


def equal_numbers(keys: Sequence[Iterable[bytes]], texts: Sequence[Iterable[str]] | None = None) -> list[list[int]]:
    """A number for each text of every column; those with equal token ids, given as bytes, or equal texts share it."""
    found: dict[bytes, int] = {}
    columns = [[found.setdefault(key, len(found)) for key in column] for column in keys]
    if texts is not None:
        from networkx.utils import UnionFind

        groups, first = UnionFind(range(len(found))), dict[str, int]()
        for column, numbers in zip(texts, columns, strict=True):
            for text, number in zip(column, numbers, strict=True):
                groups.union(number, first.setdefault(text, number))
        columns = [[groups[number] for number in numbers] for numbers in columns]
    return columns


def _ids_as_bytes(lists: Any) -> Iterator[bytes]:
    """Each list of an Arrow array; as bytes, since lists of Python's numbers take twenty times as long."""
    offsets = lists.offsets.to_numpy().astype(np.int64) * np.dtype(np.int64).itemsize
    values = lists.values.to_numpy(zero_copy_only=False).astype(np.int64).tobytes()
    return (values[start:end] for start, end in pairwise(offsets.tolist()))
