"""Which texts of the training pairs are equal."""

from __future__ import annotations

from collections.abc import Iterator
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
