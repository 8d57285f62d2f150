"""Secrets in a command or a configuration, which are refused: both are written to files and shown to others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matryoshka.storage.atomic import write_atomically
from matryoshka.storage.credentials import NOTHING, is_secret_name, masked, variable_within, without_secrets

Problem = tuple[str, str]
REMEDY = (
    "has a secret, and a configuration is written to files; remove it and set it as an environment variable "
    "(HF_TOKEN, WANDB_API_KEY), which the libraries read by themselves"
)


def secret_problems(config: Any, key: str = "") -> Iterator[Problem]:
    """Every key that is named like a secret and has a value, and every value that has one in it."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from secret_problems(value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, str):
        if is_secret_name(key) and config not in NOTHING:
            yield key, REMEDY
        elif masked(config) != config:
            yield key, _problem(variable_within(config))
    elif isinstance(config, Sequence):
        for number, value in enumerate(config):
            yield from secret_problems(value, f"{key}[{number}]")


def _problem(variable: str | None) -> str:
    if variable is None:
        return REMEDY
    return (
        f"contains the value of ${variable}, and a configuration is written to files; remove it, as libraries read the "
        "variable by themselves, or give the variable another name if it holds no secret"
    )


def words_with_secrets(words: Sequence[str]) -> list[Problem]:
    """The same of a command's words, before any of them is written down."""
    split = [word.lstrip("+~").partition("=") for word in words]
    return [problem for key, _, value in split for problem in secret_problems(value, masked(key))]


def mask_written(folder: Path) -> None:
    """Mask what Hydra has written down of the command and its files before a task could check them."""
    for path in (folder / ".hydra").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if (without := without_secrets(text)) != text:
            write_atomically(path, without)
