"""Fields of a recipe that are folders of conf/, each with a choice that becomes a part."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Group:
    """How the choice of a folder in conf/ becomes a part.

    given: arguments that the run gives when it has them; the part is then a function of these. optional: a choice may
    have no target. several: the choice holds parts by name.
    """

    given: frozenset[str] = frozenset()
    optional: bool = False
    several: bool = False


def part(*given: str, optional: bool = False, several: bool = False) -> Any:
    """A field whose name is that of its folder in conf/."""
    group = Group(frozenset(given), optional, several)
    if several:
        return field(default_factory=dict, metadata={"group": group})
    return field(default=None, metadata={"group": group}) if optional else field(metadata={"group": group})


def groups_of(kind: type[Any]) -> dict[str, Group]:
    """The groups of a recipe by the names of their folders."""
    return {item.name: item.metadata["group"] for item in fields(kind) if "group" in item.metadata}
