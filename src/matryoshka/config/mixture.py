"""Checks of several sources in one training: their names, and what names them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from matryoshka.config.consistency import TAKEN
from matryoshka.config.projecting import STORED
from matryoshka.errors import did_you_mean

Problem = tuple[str, str]
MIXTURE = "matryoshka.data.mixture.Mixture"
FOR_EXAMPLE = "+data@sources.law=pairs sources.law.train=law.jsonl sources.law.evaluation=law_test.jsonl"
TASKS = ("train", "blend", "explain", "doctor", "plan")
NAME = re.compile(r"[\w.-]+")
OF_A_DIM = re.compile(r"dim_\d+")


def mixture_problems(config: Mapping[str, Any], broken: set[str]) -> Iterator[Problem]:
    """Sources that cannot be mixed, and names that are none of theirs. broken: root keys that are known to be wrong."""
    if {"data", "sources", "sets", "task"} & broken:
        return
    data, sources = config["data"], config.get("sources") or {}
    if str(data.get("_target_")) != MIXTURE:
        if sources:
            yield "sources", f"{', '.join(sources)}: are mixed by data=mixture; add it, or use sources=none"
        return
    if not sources:
        yield "sources", f"there is none to be mixed; give for example {FOR_EXAMPLE}"
    if (task := config.get("task", "train")) not in TASKS:
        yield "task", f"task={task} works on one source; give data=... of one"
    for name, node in sources.items():
        yield from _name_problems(str(name), config.get("sets") or {})
        if isinstance(node, Mapping) and str(node.get("_target_")) == STORED:
            yield f"sources.{name}", "vectors without texts cannot be trained on; use task=project data=vectors"
    yield from _weight_problems(data.get("weights") or {}, list(map(str, sources)))
    for name, prompts in (data.get("prompts") or {}).items():
        yield from _unknown("data.prompts", str(name), list(map(str, sources)), "there is no such source")
        for side in prompts:
            yield from _unknown(f"data.prompts.{name}", str(side), ["query", "document"], "is no kind of text")


def _name_problems(name: str, sets: Mapping[str, Any]) -> Iterator[Problem]:
    if name in TAKEN or OF_A_DIM.fullmatch(name):
        yield f"sources.{name}", f"a source cannot be called so, as logged metrics are; not {', '.join(TAKEN)}, dim_..."
    elif name in sets:
        yield f"sources.{name}", "a further set has this name too; give one of them another"
    elif not NAME.fullmatch(name):
        yield f"sources.{name}", "a source's name is of letters, digits, _, - and ."


def _weight_problems(weights: Mapping[str, Any], sources: list[str]) -> Iterator[Problem]:
    for name, weight in weights.items():
        yield from _unknown("data.weights", str(name), sources, "there is no such source")
        if isinstance(weight, int | float) and not weight > 0:
            out = f"~sources.{name} leaves the source out"
            yield f"data.weights.{name}", f"{weight} is not above 0; use for example 1, or {out}"
    if weights and (without := [name for name in sources if name not in weights]):
        yield "data.weights", f"{', '.join(without)} has none; give each source one, or none at all"


def _unknown(key: str, name: str, known: list[str], said: str) -> Iterator[Problem]:
    if name not in known:
        yield f"{key}.{name}", f"{said}; {did_you_mean(name, known, f'{key}.')}"
