"""Checks of the models that task=blend mixes, and of their weights; where such a model comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from matryoshka.encoder.pretrained import Pretrained

Problem = tuple[str, str]
EXACT = 1e-6  # how close to 1 the sum of weights has to be


def model_named(run: str, encoder: Mapping[str, Any]) -> Pretrained:
    """A run's folder, a model folder or a hub name. encoder: the recipe's, which says what is trusted."""
    code, pickled = (bool(encoder.get(key)) for key in ("trust_remote_code", "pickled_weights"))
    return replace(Pretrained.named(run), trust_remote_code=code, pickled_weights=pickled)


def mixing_problems(config: Mapping[str, Any], broken: set[str]) -> Iterator[Problem]:
    """Models that cannot be mixed, and weights that are none. broken: root keys that are known to be wrong."""
    if {"runs", "weights", "task"} & broken:
        return
    runs, weights = config.get("runs") or [], config.get("weights")
    if config.get("task") != "blend":
        for key in ("runs", "weights"):
            if config.get(key):
                yield key, "are mixed by task=blend, and are nothing to another task; add task=blend, or remove them"
        return
    if not runs:
        yield "runs", "is empty; name what is mixed: runs=[<run folder>,<run folder>]"
    yield from _model_problems(runs, config.get("encoder") or {})
    if weights is not None and runs:
        yield from _weight_problems(weights, len(runs))


def _model_problems(runs: Sequence[str], encoder: Mapping[str, Any]) -> Iterator[Problem]:
    for i, run in enumerate(runs):
        if run in runs[:i]:
            yield f"runs[{i}]", f"{run} is given twice; give it once, with a larger weight"
            continue
        for key, message in model_named(run, encoder).problems():
            if key == "model":
                yield f"runs[{i}]", message


def _weight_problems(weights: Sequence[float], runs: int) -> Iterator[Problem]:
    if runs == 1:
        yield "weights", "one run is mixed with its start by shares; use weights=null blend=start blend.shares=[0.5]"
        return
    if len(weights) != runs:
        yield "weights", f"{len(weights)} for {runs} runs; give one a run, or weights=null to find them on dev"
    if all(map(math.isfinite, weights)) and abs(math.fsum(weights) - 1) > EXACT:
        share = math.floor(1e4 / runs) / 1e4
        example = ",".join([f"{share:g}"] * (runs - 1) + [f"{1 - share * (runs - 1):.4g}"])
        yield "weights", f"add up to {math.fsum(weights):.6g}, not to 1; use for example weights=[{example}]"
