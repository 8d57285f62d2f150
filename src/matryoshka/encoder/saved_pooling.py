"""The pooling that sentence-transformers saves in 1_Pooling/config.json, of all its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.encoder.missing_weights import MissingFileError
from matryoshka.errors import UserError

if TYPE_CHECKING:
    from matryoshka.encoder.pooling import Mode

FLAG = "pooling_mode_"
# Our name of a pooling -> the flag that versions up to 5 set. Several are concatenated in this order.
POOLING_FLAGS: dict[Mode, str] = {
    "cls": f"{FLAG}cls_token",
    "max": f"{FLAG}max_tokens",
    "mean": f"{FLAG}mean_tokens",
    "mean_sqrt_len_tokens": f"{FLAG}mean_sqrt_len_tokens",
    "weightedmean": f"{FLAG}weightedmean_tokens",
    "last": f"{FLAG}lasttoken",
}
# The name that version 6 writes -> ours. Several are concatenated in the order in which they are listed.
MODE_OF: dict[str, Mode] = {("lasttoken" if mode == "last" else mode): mode for mode in POOLING_FLAGS}
AGAIN = "copy the file from the model's source"


@dataclass(frozen=True)
class SavedPooling:
    """Modes, in the order in which they are concatenated, and whether a prompt's tokens are pooled too."""

    modes: tuple[Mode, ...]
    include_prompt: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any], path: Path) -> SavedPooling:
        """What the file says. path: of the file, for errors. Raises UserError for what is not known."""
        if not config:
            kind = UserError if path.is_file() else MissingFileError  # which may yet be fetched
            raise kind(f"{path} is missing or empty; {AGAIN}")
        include_prompt = config.get("include_prompt", True)
        if not isinstance(include_prompt, bool):
            raise UserError(f"{path}: include_prompt is {include_prompt!r}, not true or false; {AGAIN}")
        names = config.get("pooling_mode")
        modes = _flagged(config, path) if names is None else _named(names, path)
        return cls(modes, include_prompt)


def _named(names: object, path: Path) -> tuple[Mode, ...]:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not listed or any(name not in MODE_OF for name in map(str, listed)):
        raise UserError(f"{path}: pooling_mode is {names!r}; known are {', '.join(MODE_OF)}, one or a list of them")
    if len(set(listed)) < len(listed):
        raise UserError(f"{path}: pooling_mode is {names!r}, a mode twice, which cannot be read; list each once")
    return tuple(MODE_OF[name] for name in listed)


def _flagged(config: Mapping[str, Any], path: Path) -> tuple[Mode, ...]:
    if unknown := [key for key in config if key.startswith(FLAG) and key not in POOLING_FLAGS.values() and config[key]]:
        raise UserError(f"{path}: {unknown[0]} is not known; known are {', '.join(POOLING_FLAGS.values())}")
    return tuple(mode for mode, flag in POOLING_FLAGS.items() if config.get(flag)) or ("mean",)  # their default


def pooling_config(modes: Sequence[Mode], hidden_size: int, include_prompt: bool = True) -> dict[str, Any]:
    """What 1_Pooling/config.json says: a flag a mode, all six of 3.0.1; another order only as version 6 says it."""
    if list(modes) != [mode for mode in POOLING_FLAGS if mode in modes]:
        names = ["lasttoken" if mode == "last" else mode for mode in modes]
        return {"embedding_dimension": hidden_size, "pooling_mode": names, "include_prompt": include_prompt}
    flags = {flag: mode in modes for mode, flag in POOLING_FLAGS.items()}
    return {"word_embedding_dimension": hidden_size, **flags, "include_prompt": include_prompt}
