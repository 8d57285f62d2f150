"""Hydra's errors as one line: what was wrong with the command, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from matryoshka.config.definitions import UnknownTargetError
from matryoshka.config.groups import groups_of
from matryoshka.config.recipe import EvaluationRecipe, TrainingRecipe
from matryoshka.config.signatures import VARIADIC, parameters_of

PLUGINS = ("joblib", "submitit_local", "submitit_slurm")  # what conf/hydra/launcher builds on


def hydra_message(error: Exception, folder: Path, config_name: str, words: Sequence[str]) -> str:
    """An error's message without its stack, with the key or the choice that was probably meant.

    folder: conf/. words: the command's, of which the group choices tell which keys there are.
    """
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, OverrideParseException):
        details = [line for line in lines if not line.startswith(("See http", "Error parsing"))]
        remedy = "a value with =, a comma, a bracket or a quote of its own stands in quotes: \"key='value'\""
        return f"{error.override}: not of the form key=value ({'; '.join(details)}); {remedy}"
    if match := re.match(r"Could not override '([^']*)'", lines[0]):
        return _unknown_key(match[1], folder, config_name, words)
    if match := re.match(r"Error merging override ([^=]+)=", lines[0]):
        return f"{match[1].strip()}: takes a value of another kind; --help shows each key with what is set now"
    if match := re.match(r"(\S+) appears more than once in the final defaults list", lines[0]):
        return f"+{match[1]}=...: {match[1]} has a choice already; write {match[1]}=... without +"
    if "override must be a string or a list" in lines[0]:
        nulls = [word for word in words if word.endswith("=null")]
        return f"{' '.join(nulls)}: a group takes the name of a choice; --help lists them"
    if match := re.search(r"Could not (?:find|load) '(.+)/([^/']*)'", lines[0]):
        return _unknown_choice(match[1], match[2], lines[1:], folder)
    key = getattr(error, "full_key", None)
    return f"{key}: {lines[0]}" if key else "\n".join(lines)


def _unknown_choice(group: str, choice: str, lines: Sequence[str], folder: Path) -> str:
    if group == "hydra/launcher" and choice in PLUGINS:
        return f"{group}: {choice} is not installed; pip install 'matryoshka[sweeps]'"
    choices = [line.strip() for line in lines if line.startswith("\t") and "=" not in line]
    choices = choices or sorted(file.stem for file in (folder / group).glob("*.yaml"))
    near = get_close_matches(choice, choices, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{group}={choice}: unknown choice; {meant}there are {', '.join(choices)}"


def _unknown_key(key: str, folder: Path, config_name: str, words: Sequence[str]) -> str:
    config = _composed(folder, config_name, words)
    group, _, argument = key.partition(".")
    node = config.get(group)
    groups = groups_of(TrainingRecipe) | groups_of(EvaluationRecipe)
    if key == group and group in groups and group in config:
        return f"{key}: takes the name of a choice; its values are changed one by one, {key}.<key>=<value>"
    if key in _dotted(config):
        return f"{key}: the value has keys that are not there by default; write +{key}=... if they are meant"
    if argument and isinstance(node, dict) and "_target_" in node:
        given = groups[group].given if group in groups else frozenset()
        arguments = [name for name in _arguments(node["_target_"]) if name not in given]
        if argument in given:
            return f"{key}: is set by the run itself; remove it"
        if argument in arguments:
            return f"{key}: is not set by default; write +{key}=..."
        near = get_close_matches(argument, [*arguments, *_dotted(node)], n=1)
        return f"{key}: unknown key; " + (
            f"did you mean {group}.{near[0]}?" if near else f"there are {', '.join(arguments)}"
        )
    # The last part decides: lr is optimizer.lr.
    last = {name.rpartition(".")[2]: name for name in sorted(_dotted(config), key=lambda k: -k.count("."))}
    near = get_close_matches(key.rpartition(".")[2], last, n=1)
    return f"{key}: unknown key; " + (f"did you mean {last[near[0]]}?" if near else "--help shows every key")


def _composed(folder: Path, config_name: str, words: Sequence[str]) -> dict[str, Any]:
    """The configuration with the command's choices of groups, where they can be had."""
    choices = [word for word in words if "=" in word and (folder / word.lstrip("+").partition("=")[0]).is_dir()]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        try:
            config = hydra.compose(config_name, overrides=choices)
        except (HydraException, OmegaConfBaseException, ValueError):
            config = hydra.compose(config_name)
    container: Any = OmegaConf.to_container(config, resolve=False)
    return dict(container)


def _arguments(target: str) -> list[str]:
    try:
        return [name for name in parameters_of(target) if name != VARIADIC]
    except UnknownTargetError:
        return []


def _dotted(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every key of a nested configuration, `group.key`."""
    keys: list[str] = []
    for key, value in config.items():
        keys.append(f"{prefix}{key}")
        if isinstance(value, dict):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys
