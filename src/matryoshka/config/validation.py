"""The check of a whole configuration before anything slow starts: all problems at once, with remedies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from matryoshka.config.binding import bound
from matryoshka.config.consistency import (
    count_problems,
    dims_problems,
    part_problems,
    selection_problems,
)
from matryoshka.config.definitions import UnknownTargetError
from matryoshka.config.groups import Group, groups_of
from matryoshka.config.limits import limit_problems
from matryoshka.config.measuring import measured_alone
from matryoshka.config.mixing import mixing_problems
from matryoshka.config.mixture import mixture_problems
from matryoshka.config.normal_form import LIGHTNINGS
from matryoshka.config.past_run import run_problems
from matryoshka.config.pooling_modes import mode_problems
from matryoshka.config.projecting import projection_problems
from matryoshka.config.recipe import EvaluationRecipe, TrainingRecipe
from matryoshka.config.secrets import secret_problems
from matryoshka.config.signatures import Parameter, parameters_of
from matryoshka.config.suite import suite_problems
from matryoshka.errors import ConfigError

Problem = tuple[str, str]
Config = Mapping[str, Any]
LOADED = {"_target_", "_partial_"}
NESTED = "is the list of dims that is measured; use cuts=nested to train at numbers drawn between them"


def check_training(config: Config) -> None:
    """Raises ConfigError with every problem of a composed and resolved conf/train.yaml."""
    nested = config.get("dims") == "nested"
    found = _structure(config, TrainingRecipe)
    structure = [(key, NESTED if nested and key == "dims" else message) for key, message in found]
    broken = _broken(structure)
    problems = list(structure)
    if not broken & {"dims", "dim_weights", "dims_per_step"}:
        problems += dims_problems(config["dims"], config.get("dim_weights"), config.get("dims_per_step"))
    wrong = {key for key, _ in structure}
    problems += [] if "run" in broken else list(run_problems(config))
    problems += [*count_problems(config, wrong), *limit_problems(config, _roots(TrainingRecipe), wrong)]
    _raise(problems + _in_common(config, broken, trained=True))


def check_evaluation(config: Config) -> None:
    """Raises ConfigError with every problem of a composed and resolved conf/evaluate.yaml."""
    problems = list(_structure(config, EvaluationRecipe))
    broken = _broken(problems)
    if config.get("dims") is not None and "dims" not in broken:
        problems += dims_problems(config["dims"], None)
    problems += limit_problems(config, _roots(EvaluationRecipe), {key for key, _ in problems})
    _raise(problems + _in_common(config, broken, trained=False))


def check_comparison(config: Config) -> None:
    """Raises ConfigError with every problem of a comparison of two runs: no model is looked at, and no data."""
    unused = {"model", "encoder", "data"}
    problems = [problem for problem in _structure(config, EvaluationRecipe) if not _broken([problem]) & unused]
    runs = config["compare"]
    if "compare" not in _broken(problems) and len(runs) != 2:
        problems.append(("compare", f"{len(runs)} runs are not two; use compare=[<run folder>,<run folder>]"))
    _raise(problems)


def check_of(task: str) -> Callable[[Config], None]:
    """The check of a task's whole configuration."""
    return {"evaluate": check_evaluation, "compare": check_comparison}.get(task, check_training)


def checked(config: DictConfig, check: Callable[[Config], None]) -> dict[str, Any]:
    """The composed configuration as plain values. Raises ConfigError with every problem that the check finds.

    What follows a missing value (`${model}`) is missing itself, but only the value to give is reported.
    """
    config = config.copy()
    raw: Any = OmegaConf.to_container(config, resolve=False)
    unresolved: dict[str, list[Problem]] = {}
    while True:
        try:
            plain: Any = OmegaConf.to_container(config, resolve=True)
            break
        except OmegaConfBaseException as error:
            key = str(error.full_key)
            if key in unresolved:
                raise
            missing = isinstance(error, InterpolationToMissingValueError)
            unresolved[key] = [] if missing else [(key, str(error).splitlines()[0])]
            OmegaConf.update(config, key, None)
    if check is check_evaluation:
        plain = measured_alone(plain)
    problems = [problem for found in unresolved.values() for problem in found]
    try:
        check(plain)
    except ConfigError as error:
        problems += [problem for problem in error.problems if problem[0] not in unresolved]
    told = {key for key, _ in problems}
    _raise([problem for problem in problems if _followed(raw, problem[0]) not in told])
    return dict(plain)


def _followed(raw: Any, key: str) -> str | None:
    """The key that a key's value is taken from, as in `${batch_size}`; of the two only that one is to be mended."""
    value = raw
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    match = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    return match[1] if match and match[1] != key else None


def _in_common(config: Config, broken: set[str], *, trained: bool) -> list[Problem]:
    """The checks that every run has in common. broken: root keys whose values have the wrong type."""
    problems = list(secret_problems(config))
    if "evaluator" not in broken:
        problems += selection_problems(config["evaluator"], None if "dims" in broken else config.get("dims"))
    if "pooling" not in broken:
        problems += mode_problems(config.get("pooling") or {})
    problems += projection_problems(config, broken)
    problems += mixing_problems(config, broken)
    problems += [*suite_problems(config, broken), *mixture_problems(config, broken)]
    return problems + list(part_problems(config, broken | _broken(problems), trained=trained))


def _broken(problems: Sequence[Problem]) -> set[str]:
    """The root keys that have a problem already."""
    return {key.split(".")[0].split("[")[0] for key, _ in problems}


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _structure(config: Config, kind: type[TrainingRecipe | EvaluationRecipe]) -> Iterator[Problem]:
    """Unknown and missing keys and wrong types, at the root and in every group."""
    yield from bound("", config, _roots(kind))
    for name, group in groups_of(kind).items():
        node = config.get(name)
        if not isinstance(node, Mapping):
            continue
        if group.several:
            for key, inner in node.items():
                yield from _group_problems(f"{name}.{key}", inner, group)
        elif node or not group.optional:
            yield from _group_problems(name, node, group)


def _roots(kind: type[TrainingRecipe | EvaluationRecipe]) -> dict[str, Parameter]:
    """The root keys, read from the recipe's source like any other signature."""
    roots, groups = {}, groups_of(kind)
    for name, parameter in parameters_of(f"{kind.__module__}.{kind.__name__}").items():
        if group := groups.get(name):
            optional = group.optional or group.several
            parameter = Parameter(dict[str, Any] | None if optional else dict[str, Any], not optional)
        if name != "config":
            roots[name] = parameter
    return roots


def _group_problems(group: str, node: Any, part: Group) -> Iterator[Problem]:
    if not isinstance(node, Mapping) or "_target_" not in node:
        yield f"{group}._target_", f"missing: name the class or function, or choose a group with {group}=..."
        return
    target = node["_target_"]
    try:
        parameters = parameters_of(str(target))
    except UnknownTargetError:
        yield f"{group}._target_", f"there is no {target!r}; give a dotted name of Python code"
        return
    for key in part.given & node.keys():
        yield f"{group}.{key}", "is set by the run itself; remove it"
    own = {name: parameter for name, parameter in parameters.items() if name not in part.given}
    values = {key: value for key, value in node.items() if key not in LOADED | part.given}
    if group == "trainer" and values.get("precision") in ("auto", *LIGHTNINGS):
        del values["precision"]  # ours: decided by a measurement before the run, or named as in evaluate.py
    yield from bound(group, values, own)
