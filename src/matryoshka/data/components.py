"""Rows that hang together by what they share: connected components, by union-find."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def components(rows: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """Row numbers in groups such that nothing is in rows of two groups, and no group can be split further.

    Groups come in the order of their first rows, the rows of each in theirs.
    """
    groups, first_with = list(range(len(rows))), dict[Hashable, int]()
    for number, things in enumerate(rows):
        for thing in things:
            one, other = root(groups, first_with.setdefault(thing, number)), root(groups, number)
            groups[max(one, other)] = min(one, other)
    members: dict[int, list[int]] = {}
    for number in range(len(rows)):
        members.setdefault(root(groups, number), []).append(number)
    return list(members.values())


def root(groups: list[int], number: int) -> int:
    """The number that stands for a group, by each number's way there; the way is made shorter."""
    while groups[number] != number:
        groups[number] = groups[groups[number]]
        number = groups[number]
    return number
