"""Values bound to a signature: names it does not have, values that are missing, of another type or out of range."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import pydantic
from pydantic_core import ErrorDetails

from matryoshka.config.signatures import VARIADIC, Parameter
from matryoshka.errors import did_you_mean

Problem = tuple[str, str]
# pydantic's name of an error -> what is said of a number.
OUTSIDE = {
    "greater_than": "is not above {gt:g}",
    "greater_than_equal": "is not at least {ge:g}",
    "less_than": "is not below {lt:g}",
    "less_than_equal": "is more than {le:g}",
}


def bound(prefix: str, values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Problems of binding values to parameters: unknown names, missing ones, values of the wrong type."""
    dot = f"{prefix}." if prefix else ""
    names = [name for name in parameters if name != VARIADIC]
    for key in values:
        if key not in names and VARIADIC not in parameters:
            yield f"{dot}{key}", f"unknown key; {did_you_mean(str(key), names, dot)}"
    for name in names:
        if name not in values:
            if parameters[name].required:
                yield f"{dot}{name}", "missing: give it a value"
        elif values[name] == "???":
            yield f"{dot}{name}", f"missing: give it a value, {dot}{name}=..."
        else:
            yield from _type_problems(f"{dot}{name}", values[name], parameters[name].annotation)


def out_of_range(prefix: str, values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Numbers of the right type outside the range that their annotation gives, as in `Annotated[int, Ge(1), "16"]`.

    The first text in an annotation is the example that the message offers; with {} in it, for the number, it is the
    message. Nothing is said of NaN and infinity.
    """
    for name, parameter in parameters.items():
        if name in values:
            yield from _range_problems(f"{prefix}.{name}" if prefix else name, values[name], parameter.annotation)


def _errors(value: Any, annotation: Any) -> list[ErrorDetails]:
    """The errors that pydantic finds in a value, in strict JSON: a list may be a tuple, but "3" is no number."""
    text = json.dumps(value)
    try:
        pydantic.TypeAdapter(annotation, config={"arbitrary_types_allowed": True}).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        return error.errors()
    except Exception:  # a type that pydantic cannot describe accepts every value
        pass
    return []


def _type_problems(key: str, value: Any, annotation: Any) -> Iterator[Problem]:
    found = [(error, *_place(value, error["loc"])) for error in _errors(value, annotation)]
    # A number out of range is of the right type, whatever the other members of a union say.
    outside = {place for error, place, _ in found if _is_outside(error)}
    found = [(error, place, shown) for error, place, shown in found if place not in outside]
    if not found:
        return
    first, place, shown = found[0]
    wanted = [error["msg"] for error, _, _ in found if "isinstance" not in error["msg"]]
    if first["type"] == "missing":
        yield f"{key}{place}", "missing: give it a value"
    elif not wanted:
        yield key, "takes an object that no configuration can hold; remove it"
    elif all(message.startswith("Input should be ") for message in wanted):
        kinds = [message.removeprefix("Input should be ") for message in wanted]
        yield f"{key}{place}", f"{shown} is not {' or '.join(dict.fromkeys(kinds))}"
    else:
        yield f"{key}{place}", f"{shown}: {'; '.join(dict.fromkeys(wanted))}"


def _range_problems(key: str, value: Any, annotation: Any) -> Iterator[Problem]:
    text = next(_texts(annotation), "")
    told: set[str] = set()  # places: several members of a union may have a range
    for error in _errors(value, annotation):
        place, shown = _place(value, error["loc"])
        if _is_outside(error) and abs(error["input"]) < math.inf and place not in told:
            told.add(place)
            said = f"{shown} {OUTSIDE[error['type']].format(**error['ctx'])}"
            example = f"; use for example {text}" if text else ""
            yield key, text.replace("{}", shown) if "{}" in text else said + example


def _is_outside(error: ErrorDetails) -> bool:
    return error["type"] in OUTSIDE and isinstance(error["input"], int | float)


def _texts(annotation: Any) -> Iterator[str]:
    """The plain texts in the metadata of every Annotated in a type."""
    yield from (extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, str))
    for inner in get_args(annotation):
        yield from _texts(inner)


def _place(value: Any, path: Sequence[int | str]) -> tuple[str, str]:
    """`[0].key` for a path into a value, and what stands there; names of a union's members are left out."""
    place = ""
    for part in path:
        if isinstance(value, list) and isinstance(part, int):
            place, value = f"{place}[{part}]", value[part] if part < len(value) else None
        elif isinstance(value, dict) and part in value:
            place, value = f"{place}.{part}", value[part]
    return place, json.dumps(value, ensure_ascii=False)
