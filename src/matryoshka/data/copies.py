"""Which texts are copies of each other, equal but for case, spaces and punctuation; and which rows share any."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence

WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """The words of a text in small letters, one space apart (NFKC, case folded); a text without words as it is."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold())) or text.strip()


def first_copies(texts: Iterable[str]) -> list[int]:
    """The number of the first text that each text is a copy of: its own if none before it is equal."""
    first: dict[str, int] = {}
    return [first.setdefault(normalised(text), number) for number, text in enumerate(texts)]


def components(rows: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """Row numbers in groups such that nothing is in rows of two groups, and no group can be split further.

    Groups come in the order of their first rows, the rows of each in theirs.
    """
    from networkx.utils import UnionFind

    groups, first_with = UnionFind(range(len(rows))), dict[Hashable, int]()
    for number, things in enumerate(rows):
        groups.union(number, *(first_with.setdefault(thing, number) for thing in things))
    members: dict[int, list[int]] = {}
    for number in range(len(rows)):
        members.setdefault(groups[number], []).append(number)
    return list(members.values())
