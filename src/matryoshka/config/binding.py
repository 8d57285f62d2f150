"""Values bound to a signature: names it does not have, values that are missing or of another type."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic

from matryoshka.config.signatures import VARIADIC, Parameter

Problem = tuple[str, str]


def bound(prefix: str, values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Problems of binding values to parameters: unknown names, missing ones, values of the wrong type."""
    dot = f"{prefix}." if prefix else ""
    names = [name for name in parameters if name != VARIADIC]
    for key in values:
        if key not in names and VARIADIC not in parameters:
            near = difflib.get_close_matches(str(key), names, n=1)
            meant = f"did you mean {dot}{near[0]}?" if near else f"there are {', '.join(names)}"
            yield f"{dot}{key}", f"unknown key; {meant}"
    for name in names:
        if name not in values:
            if parameters[name].required:
                yield f"{dot}{name}", "missing: give it a value"
        elif values[name] == "???":
            yield f"{dot}{name}", f"missing: give it a value, {dot}{name}=..."
        else:
            yield from _type_problems(f"{dot}{name}", values[name], parameters[name].annotation)


def _type_problems(key: str, value: Any, annotation: Any) -> Iterator[Problem]:
    try:
        adapter = pydantic.TypeAdapter(annotation, config={"arbitrary_types_allowed": True})
    except Exception:  # a type that pydantic cannot describe accepts every value
        return
    try:
        # JSON mode: lists pass for sequences and tuples, but "3" is no number and 3 is no text.
        adapter.validate_json(json.dumps(value), strict=True)
    except pydantic.PydanticUserError:  # nor one that it only then finds out it cannot
        return
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place, shown = _place(value, first["loc"])
        wanted = [e["msg"] for e in error.errors() if "isinstance" not in e["msg"]]
        if first["type"] == "missing":
            yield f"{key}{place}", "missing: give it a value"
        elif not wanted:
            yield key, "takes an object that no configuration can hold; remove it"
        elif all(message.startswith("Input should be ") for message in wanted):
            kinds = [message.removeprefix("Input should be ") for message in wanted]
            yield f"{key}{place}", f"{shown} is not {' or '.join(dict.fromkeys(kinds))}"
        else:
            yield f"{key}{place}", f"{shown}: {'; '.join(dict.fromkeys(wanted))}"


def _place(value: Any, path: Sequence[int | str]) -> tuple[str, str]:
    """`[0].key` for a path into a value, and what stands there; names of a union's members are left out."""
    place = ""
    for part in path:
        if isinstance(value, list) and isinstance(part, int):
            place, value = f"{place}[{part}]", value[part] if part < len(value) else None
        elif isinstance(value, dict) and part in value:
            place, value = f"{place}.{part}", value[part]
    return place, json.dumps(value, ensure_ascii=False)
