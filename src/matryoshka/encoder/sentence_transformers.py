"""What sentence-transformers writes beside a model: which modules follow, pooling, length, prompts."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.encoder.model_folder import inside
from matryoshka.encoder.saved_dense import SavedDense
from matryoshka.encoder.saved_pooling import SavedPooling
from matryoshka.encoder.transformer_folder import transformer_folder
from matryoshka.errors import UserError

if TYPE_CHECKING:
    from matryoshka.encoder.pooling import Mode

# Where versions keep the length; the first that says anything counts.
TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
OTHER_LENGTHS = ("query_length", "document_length")  # what version 6 cuts queries and documents at instead
log = logging.getLogger(__name__)
SUPPORTED_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
ORDER = re.compile(r"Transformer Pooling( Dense)*( Normalize)?")
OF_DOCUMENTS = ("passage", "corpus")
OWN = "sentence_transformers."  # of others, a Dense is another layer


@dataclass(frozen=True)
class SavedSettings:
    """Settings saved with a model; None or empty where the folder says nothing."""

    pooling: tuple[Mode, ...] | None = None
    include_prompt: bool = True
    max_seq_length: int | None = None
    do_lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()
    folder: str = ""
    dense: tuple[SavedDense, ...] = ()

    @classmethod
    def read(cls, folder: Path, *, pickled: bool = False) -> SavedSettings:
        """Read a folder of any of sentence-transformers' layouts; a plain transformers folder gives no settings.

        pickled: whether Dense modules may be read from pytorch_model.bin.
        """
        modules = _modules(folder / "modules.json")
        kinds = [_kind(str(module.get("type", ""))) for module in modules]
        unsupported = [kind for kind in kinds if kind not in SUPPORTED_MODULES]
        if kinds and not unsupported and not ORDER.fullmatch(" ".join(kinds)):
            unsupported = [f"modules in the order {', '.join(kinds)}"]
        ordered, dense = not unsupported, list[SavedDense]()
        pooling: SavedPooling | None = None
        for module, kind in zip(modules, kinds, strict=True):
            place = inside(folder, module.get("path", ""), folder / "modules.json")
            if kind == "Pooling":
                pooling = SavedPooling.of(_settings(place / "config.json"), place / "config.json")
            if kind == "Dense" and ordered:
                dense.append(SavedDense.read(folder, module.get("path", ""), pickled=pickled))
                unsupported += dense[-1].unsupported
        file, transformer = _transformer(transformer_folder(folder) or folder)
        unsupported += [key for key in OTHER_LENGTHS if transformer.get(key) is not None]
        return cls(
            pooling=pooling.modes if pooling else None,
            include_prompt=pooling.include_prompt if pooling else True,
            max_seq_length=_length(transformer, file),
            do_lower_case=bool(transformer.get("do_lower_case")),
            prompts=_prompts(folder / "config_sentence_transformers.json"),
            unsupported=tuple(unsupported),
            folder=str(folder),
            dense=tuple(dense),
        )

    def require_supported(self) -> None:
        """Raises UserError if the model needs modules or poolings that are not here: its embeddings would be wrong."""
        if self.unsupported:
            have = f"only {', '.join(SUPPORTED_MODULES)} in this order can be read"
            raise UserError(f"{self.folder} uses {', '.join(self.unsupported)}; {have}")

    def require_dense(self, hidden_size: int | None, modes: int) -> None:
        """Raises UserError if a Dense module lacks its weights, or takes other numbers than come to it.

        hidden_size: numbers of a pooling mode, None where they are not known; modes: how many are side by side.
        """
        for saved in self.dense:
            saved.require_weights()
        self.require_width(hidden_size, modes)
        for before, saved in zip(self.dense, self.dense[1:], strict=False):
            if before.out_features != saved.in_features:
                gives = f"{before.config_file} gives {before.out_features}"
                raise UserError(
                    f"{saved.config_file} takes {saved.in_features} numbers, but {gives}; copy all files of one model"
                )

    def require_width(self, hidden_size: int | None, modes: int) -> None:
        """Raises UserError if the pooling gives other numbers than the first Dense module takes."""
        if self.dense and hidden_size is not None and hidden_size * modes != (takes := self.dense[0].in_features):
            many = takes // hidden_size if takes % hidden_size == 0 else 0
            remedy = f"use a pooling of {many} mode{'s' * (many > 1)}" if many else "copy all files of one model"
            gives = f"the pooling gives {hidden_size * modes}"
            raise UserError(f"{self.dense[0].config_file} takes {takes} numbers, but {gives}; {remedy}")


def _kind(dotted: str) -> str:
    kind = dotted.rpartition(".")[2]
    return dotted if kind == "Dense" and not dotted.startswith(OWN) else kind


def _modules(path: Path) -> list[dict[str, Any]]:
    modules = _json(path, default=[])
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise UserError(f"{path} is not a list of modules; copy the complete file again")
    return modules


def _settings(path: Path) -> dict[str, Any]:
    settings = _json(path, default={})
    if not isinstance(settings, dict):
        raise UserError(f"{path} is not a JSON object; copy the complete file again")
    return settings


def _transformer(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the length, and what it says: the newest name's where no file says anything."""
    for name in TRANSFORMER_FILES:
        if settings := _settings(folder / name):
            return folder / name, settings
    return folder / TRANSFORMER_FILES[0], {}


def _length(settings: Mapping[str, Any], path: Path) -> int | None:
    length = settings.get("max_seq_length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 3):
        raise UserError(f"{path}: max_seq_length is {length!r}, not a number from 3; mend it, or remove the key")
    return length


def _prompts(path: Path) -> dict[str, str]:
    prompts = _settings(path).get("prompts") or {}
    if not isinstance(prompts, dict):
        raise UserError(f"{path}: prompts is {prompts!r}, not an object of texts; mend it, or remove the key")
    kept = {key: prompts[key] for key in ("query", "document") if key in prompts}
    if others := [key for key in OF_DOCUMENTS if key in prompts and "document" not in prompts]:
        # as encode_document of sentence-transformers 6.2, of which every model has a prompt `document`, of nothing
        log.warning("%s: documents get no prompt, since %r is not called document", path, others[0])
    for key, prompt in kept.items():
        if not isinstance(prompt, str):
            raise UserError(f"{path}: prompts.{key} is {prompt!r}, not a text; mend it, or remove the key")
    return kept


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}; copy the complete file again") from error
