"""Checks of a suite: which of the sets it measures."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

Problem = tuple[str, str]
Config = Mapping[str, Any]
OWN = {"mean", "worst"}  # rows of its table
SUITE = "matryoshka.data.suite.Suite"


def is_suite(config: Config) -> bool:
    """Whether the data are the sets, and no set of their own."""
    data = config.get("data")
    return isinstance(data, Mapping) and data.get("_target_") == SUITE


def chosen_sets(config: Config) -> dict[str, Any]:
    """The further sets that are measured: of a suite with names only these."""
    sets, names = dict(config.get("sets") or {}), config["data"].get("names") if is_suite(config) else None
    return {name: node for name, node in sets.items() if not isinstance(names, list) or name in names}


def suite_problems(config: Config, broken: set[str]) -> Iterator[Problem]:
    """A suite that nothing can be done with, names that are none of its sets. broken: root keys known to be wrong."""
    if "data" in broken or not is_suite(config):
        return
    if "task" in config:
        yield "data", "a suite has no training pairs; choose other data, and what is measured besides with sets=..."
        return
    if config.get("ask") is not None:
        yield "ask", "a suite has several corpora; ask one of them, as in data=german_help"
    if "sets" in broken:
        return
    if not (sets := config.get("sets")):
        yield (
            "sets",
            "is empty, and a suite has no set of its own; use sets=embedded, sets=nano, sets=german or your own",
        )
        return
    yield from ((f"sets.{name}", "is what the suite calls its own; use another name") for name in OWN & set(sets))
    yield from _name_problems(config["data"].get("names"), list(sets))


def _name_problems(names: Any, sets: list[str]) -> Iterator[Problem]:
    if names is not None and not names:
        yield "data.names", f"is empty; use null for all of {', '.join(sets)}"
    for i, name in enumerate(names or ()):
        if name not in sets:
            near = difflib.get_close_matches(name, sets, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(sets)}; sets=... chooses others"
            yield f"data.names[{i}]", f"{name!r} is none of the sets; {meant}"
        elif name in names[:i]:
            yield f"data.names[{i}]", f"{name!r} is given twice; remove it"
