"""What sentence-transformers writes beside a model: which modules follow, pooling, length, prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.errors import UserError

if TYPE_CHECKING:
    from matryoshka.encoder.pooling import Mode

# Our name of a pooling -> sentence-transformers' flag in 1_Pooling/config.json.
POOLING_FLAGS: dict[Mode, str] = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "last": "pooling_mode_lasttoken",
}
UNSUPPORTED_FLAGS = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
SUPPORTED_MODULES = ("Transformer", "Pooling", "Normalize")
FLAG_OF_NEWER_NAME = {"lasttoken": "last"}


@dataclass(frozen=True)
class SavedSettings:
    """Settings saved with a model; None or empty where the folder says nothing."""

    pooling: tuple[Mode, ...] | None = None
    max_seq_length: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()
    folder: str = ""

    @classmethod
    def read(cls, folder: Path) -> SavedSettings:
        """Read a folder of any of sentence-transformers' layouts; a plain transformers folder gives no settings.

        Raises UserError for a file that is not JSON, and for a module that is said to be outside the folder.
        """
        modules = _json(folder / "modules.json", default=[])
        kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
        unsupported = [kind for kind in kinds if kind not in SUPPORTED_MODULES]
        pooling: tuple[Mode, ...] | None = None
        for module, kind in zip(modules, kinds, strict=True):
            if kind == "Pooling":
                config = _json(_within(folder, str(module.get("path", ""))) / "config.json", default={})
                pooling = _modes(config)
                unsupported += [flag for flag in UNSUPPORTED_FLAGS if config.get(flag)]
                unsupported += [] if config.get("include_prompt", True) else ["a pooling without the prompt"]
        prompts = _json(folder / "config_sentence_transformers.json", default={}).get("prompts") or {}
        transformer = _json(folder / "sentence_bert_config.json", default={})
        unsupported += ["do_lower_case"] if transformer.get("do_lower_case") else []
        return cls(
            pooling=pooling,
            max_seq_length=transformer.get("max_seq_length"),
            prompts={key: prompts[key] for key in ("query", "document") if key in prompts},
            unsupported=tuple(unsupported),
            folder=str(folder),
        )

    def require_supported(self) -> None:
        """Raises UserError if the model needs modules or poolings that are not here: its embeddings would be wrong."""
        if self.unsupported:
            have = f"only {', '.join(SUPPORTED_MODULES)} with {', '.join(POOLING_FLAGS)} can be read"
            raise UserError(f"{self.folder} uses {', '.join(self.unsupported)}; {have}")


def _modes(config: Mapping[str, Any]) -> tuple[Mode, ...] | None:
    modes: list[Mode] = [mode for mode, flag in POOLING_FLAGS.items() if config.get(flag)]
    if not modes and (newer := config.get("pooling_mode")):  # sentence-transformers 6 writes names
        names = [newer] if isinstance(newer, str) else newer
        modes = [mode for mode in POOLING_FLAGS if mode in {FLAG_OF_NEWER_NAME.get(n, n) for n in names}]
    return tuple(modes) or None


def _within(folder: Path, path: str) -> Path:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise UserError(f"{folder / 'modules.json'}: the path {path!r} leads out of the model's folder; mend it there")
    return folder / path


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
