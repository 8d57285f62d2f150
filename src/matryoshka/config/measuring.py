"""What a configuration that only measures need not give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matryoshka.config.definitions import UnknownTargetError
from matryoshka.config.signatures import parameters_of


def measured_alone(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with null for each missing value of its data that may be null, as their training pairs may."""
    data = config.get("data")
    if not isinstance(data, Mapping) or "???" not in data.values():
        return dict(config)
    try:
        parameters = parameters_of(str(data.get("_target_")))
    except UnknownTargetError:
        return dict(config)
    missing = [key for key, value in data.items() if value == "???" and key in parameters]
    optional = [key for key in missing if _may_be_none(parameters[key].annotation)]
    return {**config, "data": {**data, **dict.fromkeys(optional)}}


def _may_be_none(annotation: Any) -> bool:
    return type(None) in getattr(annotation, "__args__", ())
