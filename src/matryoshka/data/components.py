"""Rows that hang together by what they share: connected components."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


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
