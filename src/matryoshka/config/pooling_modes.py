"""Checks of the pooling's modes, by themselves and with the encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matryoshka.errors import UserError

POOLING = "matryoshka.encoder.pooling.Pooling"
Problem = tuple[str, str]


def mode_problems(pooling: Mapping[str, Any]) -> Iterator[Problem]:
    """Pooling modes that are none or repeat."""
    modes = pooling.get("modes")
    if modes is not None and not modes:
        yield "pooling.modes", "is empty; use for example pooling.modes=[cls]"
    elif modes and len(set(modes)) < len(modes):
        once = ",".join(dict.fromkeys(modes))
        yield "pooling.modes", f"a mode is given twice; use pooling.modes=[{once}]"


def first_token_problems(encoder: Any, pooling: Mapping[str, Any]) -> Iterator[Problem]:
    """The first token of a decoder, where its files tell that it is one. pooling: empty for the saved one."""
    if (pooling and pooling.get("_target_") != POOLING) or not hasattr(encoder, "pooling_problem"):
        return
    try:
        problem = encoder.pooling_problem(pooling.get("modes", ["cls"]) if pooling else None)
    except UserError:  # said already
        return
    if problem:
        yield "pooling", problem
