"""A configuration as the command line composes it, in this process, and what is wrong with it."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from matryoshka.cli.command_line import configuration_folder
from matryoshka.config import resolvers
from matryoshka.config.validation import check_evaluation, check_training, checked
from matryoshka.errors import ConfigError

Primary = Literal["train", "evaluate"]
CHECKS = {"train": check_training, "evaluate": check_evaluation}

# config.json of BAAI/bge-m3, as far as anything here reads it.
BGE_M3 = {
    "architectures": ["XLMRobertaModel"],
    "hidden_size": 1024,
    "max_position_embeddings": 8194,
    "model_type": "xlm-roberta",
    "pad_token_id": 1,
}


def composed(*words: str, primary: Primary = "train") -> DictConfig:
    """What Hydra makes of the words; nothing is resolved or checked yet."""
    resolvers.register_resolvers()
    choices = tuple(word for word in words if _chooses(word))
    values = [word for word in words if word not in choices]
    # The same choices give the same files, on the same machine: an experiment's choices depend on it.
    config = _chosen(choices, primary, (resolvers.why_not_card(), resolvers.why_not_bmf_pairs())).copy()
    parsed = OverridesParser.create().parse_overrides(values)
    ConfigLoaderImpl._apply_overrides_to_config(parsed, config)  # as compose does with all of them
    return config


def _chooses(word: str) -> bool:
    key = word.lstrip("+~").partition("=")[0].partition("@")[0]
    return key.startswith("hydra.") or (configuration_folder() / key).is_dir()


@cache
def _chosen(choices: tuple[str, ...], primary: Primary, machine: tuple[str, str]) -> DictConfig:
    with hydra.initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        return hydra.compose(primary, overrides=list(choices))


def plain(*words: str, primary: Primary = "train") -> dict[str, Any]:
    """The resolved configuration. Raises ConfigError if anything is wrong with it."""
    return checked(composed(*words, primary=primary), CHECKS[primary])


def problems(*words: str, primary: Primary = "train") -> list[tuple[str, str]]:
    """All problems, as (key, message)."""
    try:
        plain(*words, primary=primary)
    except ConfigError as error:
        return error.problems
    return []
