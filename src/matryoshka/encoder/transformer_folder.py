"""Where in a model's folder its transformer lies, and what a folder without one is instead. Imports nothing slow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matryoshka.encoder.model_folder import inside, read_json
from matryoshka.errors import UserError

ADAPTER = "adapter_config.json"


def transformer_folder(folder: Path) -> Path | None:
    """The folder with the transformer's config.json; None if there is none.

    It is the folder itself or, as sentence-transformers before 2.0 wrote it, the one of the first module. Raises
    UserError for a model that begins with something else than a transformer.
    """
    first = _first_module(folder / "modules.json")
    kind, path = str(first.get("type", "")).rpartition(".")[2], first.get("path")
    if kind == "StaticEmbedding":
        raise UserError(
            f"{folder} is a static model: a vector a token, without a transformer (StaticEmbedding in modules.json), "
            "which cannot be trained or measured here; give a transformer, such as the one that it was made from"
        )
    if kind == "Transformer" and path:
        place = inside(folder, path, folder / "modules.json")
        if (place / "config.json").is_file():
            return place
    return folder if (folder / "config.json").is_file() else None


def no_transformer(path: Path) -> UserError:
    """What a folder is of which neither itself nor its `model` has a transformer."""
    for folder in (path, path / "model"):
        if (folder / ADAPTER).is_file():
            return _of_adapter(folder)
        if (folder / "modules.json").is_file():
            lacks = "names no folder of a transformer, and there is no config.json beside it"
            return UserError(f"{folder / 'modules.json'} {lacks}; copy all files of the model")
    lacks = "is neither a model (no config.json) nor a run's folder (no model/config.json)"
    return UserError(f"{path} {lacks}; give one of these, or a hub name like BAAI/bge-m3")


def _of_adapter(folder: Path) -> UserError:
    """An adapter is a small difference to a model that lies elsewhere."""
    base = read_json(folder / ADAPTER).get("base_model_name_or_path")
    base = base if isinstance(base, str) and base else "<its base model>"
    merge = (
        f"PeftModel.from_pretrained(AutoModel.from_pretrained('{base}'), '{folder}')"
        ".merge_and_unload().save_pretrained('merged')"
    )
    return UserError(
        f'{folder} is an adapter of {base} ({ADAPTER}) and no model; merge it into that one first: python -c "from '
        f'peft import PeftModel; from transformers import AutoModel; {merge}", copy the tokenizer of {base} to it, and '
        "give encoder.model=merged"
    )


def _first_module(path: Path) -> dict[str, Any]:
    """Of modules.json; empty where there is none. A damaged file is told where the settings are read."""
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return modules[0] if isinstance(modules, list) and modules and isinstance(modules[0], dict) else {}
