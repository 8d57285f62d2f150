"""The check of a whole configuration before anything slow starts: all problems at once, each with its remedy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import pydantic

from matryoshka.config.schema import GIVEN_BY_THE_TASK, EvaluateSchema, TrainSchema
from matryoshka.config.signatures import VARIADIC, Parameter, UnknownTargetError, parameters_of
from matryoshka.errors import ConfigError

Problem = tuple[str, str]
Config = Mapping[str, Any]
LOADED = {"_target_", "_partial_"}


def check_training(config: Config) -> None:
    """Raises ConfigError with every problem of a composed and resolved conf/train.yaml."""
    problems = list(_structure(config, TrainSchema))
    if not _broken(problems) & {"dims", "dim_weights", "evaluator"}:
        problems += _dims(config)
    if not _broken(problems) & {"batch_size", "accumulation", "trainer"}:
        problems += _counts(config)
    problems += _rooms(config, problems)
    _raise(problems)


def check_evaluation(config: Config) -> None:
    """Raises ConfigError with every problem of a composed and resolved conf/evaluate.yaml."""
    problems = list(_structure(config, EvaluateSchema))
    if config.get("dims") is not None and not _broken(problems) & {"dims", "evaluator"}:
        problems += _dims(config)
    problems += _rooms(config, problems)
    _raise(problems)


def _broken(problems: Sequence[Problem]) -> set[str]:
    """The root keys that have a problem already."""
    return {key.split(".")[0].split("[")[0] for key, _ in problems}


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _structure(config: Config, schema: type) -> Iterator[Problem]:
    """Unknown and missing keys and wrong types, at the root and in every group."""
    hints = get_type_hints(schema)
    roots = {
        item.name: Parameter(hints[item.name], item.default is MISSING and item.default_factory is MISSING)
        for item in fields(schema)
    }
    yield from bound("", config, roots)
    for group, given in GIVEN_BY_THE_TASK.items():
        node = config.get(group)
        if isinstance(node, Mapping) and group in roots and node:
            yield from _group_problems(group, node, given)


def _group_problems(group: str, node: Config, given: set[str]) -> Iterator[Problem]:
    if "_target_" not in node:
        yield f"{group}._target_", f"missing: name the class or function, or choose a group with {group}=..."
        return
    try:
        parameters = parameters_of(node["_target_"])
    except UnknownTargetError:
        yield f"{group}._target_", f"there is no {node['_target_']!r}; give a dotted name that can be imported"
        return
    for key in given & node.keys():
        yield f"{group}.{key}", "is set by the run itself; remove it"
    own = {name: parameter for name, parameter in parameters.items() if name not in given}
    values = {key: value for key, value in node.items() if key not in LOADED | given}
    if (group, values.get("precision")) == ("trainer", "auto"):  # ours: decided by a measurement before the run
        del values["precision"]
    yield from bound(group, values, own)


def bound(prefix: str, values: Config, parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Problems of binding values to parameters: unknown names, missing ones, values of the wrong type."""
    dot = f"{prefix}." if prefix else ""
    names = [name for name in parameters if name != VARIADIC]
    for key in values:
        if key not in names and VARIADIC not in parameters:
            near = difflib.get_close_matches(str(key), names, n=1)
            yield f"{dot}{key}", f"unknown key; did you mean {dot}{near[0]}?" if near else f"unknown key; there are {', '.join(names)}"
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
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
        wanted = [e["msg"].removeprefix("Input should be ") for e in error.errors() if "isinstance" not in e["msg"]]
        shown = json.dumps(first["input"] if place else value, ensure_ascii=False)
        yield f"{key}{place}", f"{shown} is not {' or '.join(dict.fromkeys(wanted))}"


def _counts(config: Config) -> Iterator[Problem]:
    for key in ("batch_size", "accumulation"):
        if config[key] < 1:
            yield key, f"{config[key]} is not at least 1"
    if config["batch_size"] == 1:
        yield "batch_size", "with 1 pair there are no in-batch negatives; use at least 2"
    if str(config["trainer"].get("precision", "")).startswith("16"):
        yield "trainer.precision", "fp16 is not supported; use auto, bf16-mixed or 32-true"
    if (config["trainer"].get("max_epochs") or 0) < 1:
        yield "trainer.max_epochs", f"{config['trainer'].get('max_epochs')} is not at least 1"


def _dims(config: Config) -> Iterator[Problem]:
    dims: Sequence[int] = config["dims"]
    weights = config.get("dim_weights")
    if not dims:
        yield "dims", "is empty; use for example dims=[768,512,256,128,64]"
    for i, dim in enumerate(dims):
        if dim < 1:
            yield f"dims[{i}]", f"{dim} is not at least 1; remove it"
        elif dim in dims[:i]:
            yield f"dims[{i}]", f"{dim} is given twice; use dims={_list(sorted({d for d in dims if d > 0}, reverse=True))}"
    if weights is not None and len(weights) != len(dims):
        yield "dim_weights", f"{len(weights)} weights for {len(dims)} dims; give one a dim or dim_weights=null"
    metric, _, dim_name = str(config["evaluator"].get("select", "")).partition("/dim_")
    name, _, k = metric.partition("@")
    ranks = config["evaluator"].get(f"{name}_at", [])
    if metric and (not k.isdigit() or int(k) not in ranks):
        yield "evaluator.select", f"{metric!r} is not measured; add {k or 'k'} to evaluator.{name}_at or choose another"
    if dim_name and dims and dim_name not in map(str, dims):
        yield "evaluator.select", f"dim {dim_name} is not among dims={_list(dims)}"


def _rooms(config: Config, found: Sequence[Problem]) -> Iterator[Problem]:
    """What data, encoder and export say of their own arguments, and whether the dims fit the encoder."""
    broken = _broken(found)
    for group in ("data", "encoder", "export"):
        if group not in broken and config.get(group):
            room = _created(config[group])
            for key, message in room.problems() if hasattr(room, "problems") else ():
                yield f"{group}.{key}", message
                broken.add(group)
    if not broken & {"encoder", "pooling"} and config.get("dims") and not any(key == "dims" for key, _ in found):
        yield from _width(config)


def _width(config: Config) -> Iterator[Problem]:
    encoder = _created(config["encoder"])
    hidden = int(encoder.config["hidden_size"])
    modes = (config.get("pooling") or {}).get("modes") or encoder.settings.pooling or ["cls"]
    width = hidden * len(set(modes))
    if len(set(modes)) < len(modes):
        yield "pooling.modes", f"a mode is given twice; use pooling.modes={_list(dict.fromkeys(modes))}"
    fitting = sorted({width, *(dim for dim in config["dims"] if 1 <= dim <= width)}, reverse=True)
    for i, dim in enumerate(config["dims"]):
        if dim > width:
            yield f"dims[{i}]", f"{dim} is wider than the encoder's {width}; use dims={_list(fitting)}"


def _created(node: Config) -> Any:
    from hydra.utils import instantiate

    return instantiate(dict(node), _convert_="all")


def _list(values: Any) -> str:
    return "[" + ",".join(map(str, values)) + "]"
