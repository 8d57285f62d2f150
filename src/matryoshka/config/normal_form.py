"""One form for values that can be given in several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]
LIGHTNINGS = {"fp32": "32-true", "bf16": "bf16-mixed"}  # names of precisions


def normalised(config: Config) -> dict[str, Any]:
    """The configuration with dims from wide to narrow, weights with them, and Lightning's name of the precision."""
    return _nested_dims(_lightnings_name(config))


def _nested_dims(config: Config) -> dict[str, Any]:
    if not (dims := config.get("dims")):
        return dict(config)
    order, weights = sorted(range(len(dims)), key=lambda i: -dims[i]), config.get("dim_weights")
    ordered: dict[str, Any] = {**config, "dims": [dims[i] for i in order]}
    return ordered if weights is None else {**ordered, "dim_weights": [weights[i] for i in order]}


def _lightnings_name(config: Config) -> dict[str, Any]:
    trainer = config.get("trainer") or {}
    if (name := trainer.get("precision")) in LIGHTNINGS:
        return {**config, "trainer": {**trainer, "precision": LIGHTNINGS[name]}}
    return dict(config)
