"""A model's folder before anything of it is loaded: what is in it, in which format, and whose code it would run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from matryoshka.encoder.encoder_half import ENCODERS, UNREADABLE
from matryoshka.encoder.missing_weights import MissingFileError, missing_weights
from matryoshka.encoder.tensor_file import require_no_pointer, require_tensors
from matryoshka.encoder.tokenizer_files import require_tokenizer
from matryoshka.encoder.weight_files import is_pickled, weights_file
from matryoshka.errors import UserError

SETTINGS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
COUNTS = (
    *("hidden_size", "d_model", "vocab_size"),
    *("num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
)
WIDTHS = ("embedding_size", "input_embedding_size", "hidden_size")  # of a row of the table, the first that is given
TABLE = "word_embeddings.weight"  # of most encoders the name of the tensor with a row a token
MOST_FILES = 10_000
TRUST = "use encoder.trust_remote_code=true with this model"


def require_loadable(folder: Path, *, trust_remote_code: bool = False, pickled_weights: bool = False) -> None:
    """Raises UserError if loading could fail, would unpickle unasked, or would run or read what is not to be trusted.

    Only names, links, JSON files and the headers of safetensors are looked at: no weights are read.
    """
    config, settings = require_settings(folder, trust_remote_code=trust_remote_code)
    _require_width(_tensors(folder, pickled_weights), config, folder)
    require_tokenizer(folder, config, settings)


def require_settings(folder: Path, *, trust_remote_code: bool) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """config.json, and the tokenizer's JSON files by their names. Raises UserError as `require_loadable`."""
    require_inside(folder)
    config = read_json(folder / "config.json")
    require_config(config, folder / "config.json")
    settings = {name: read_json(folder / name) for name in SETTINGS if (folder / name).is_file()}
    for name, content in {"config.json": config, **settings}.items():
        require_trusted(content, folder / name, trust_remote_code=trust_remote_code)
    return config, settings


def require_config(config: Mapping[str, Any], path: Path | str) -> None:
    """Raises UserError if config.json does not say what kind of model it is, or says impossible numbers."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise UserError(f"{path}: model_type is {kind!r}, no name of an architecture; copy the model's own config.json")
    if kind in UNREADABLE:
        read = ", ".join(ENCODERS)
        raise UserError(
            f"{path}: {kind} is an encoder with a decoder, of which only {read} are read; use another model"
        )
    for key in COUNTS:
        value = config.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{path}: {key} is {value!r}, not a number from 1; copy the model's own config.json")
    padding = config.get("pad_token_id")
    if padding is not None and (not isinstance(padding, int) or isinstance(padding, bool)):
        raise UserError(f"{path}: pad_token_id is {padding!r}, no number of a token; copy the model's own config.json")


def require_trusted(config: Mapping[str, Any], path: Path | str, *, trust_remote_code: bool) -> None:
    """Raises UserError if a model names Python code to run: any unless trusted, else that of another repository."""
    code = config.get("auto_map")
    if code and not trust_remote_code:
        raise UserError(
            f"{path} names Python code of the model's own (auto_map), which is not run; read that code, and if you "
            f"trust it, {TRUST}"
        )
    for repository in _repositories(code):
        raise UserError(
            f"{path} runs code of {repository} (auto_map), which is not pinned; put its .py files into the model's "
            f"folder and remove the prefix '{repository}--'"
        )


def _repositories(code: object) -> Iterator[str]:
    """Those of `owner/name--module.Class`, wherever it stands in an auto_map."""
    if isinstance(code, str) and "--" in code:
        yield code.partition("--")[0]
    elif isinstance(code, Mapping | list):
        for inner in code.values() if isinstance(code, Mapping) else code:
            yield from _repositories(inner)


def read_json(path: Path) -> dict[str, Any]:
    """A file's object. Raises UserError if it is none, a MissingFileError if there is no file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist; copy it from the model's source") from None
    except RecursionError:
        raise UserError(f"{path} cannot be read: nested too deeply; copy the complete file again") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; copy the complete file again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object; copy the complete file again")
    return content


def inside(folder: Path, name: object, said_by: Path) -> Path:
    """The file of a name that a model's own file says. Raises UserError if that leads out of the folder."""
    pure = PurePosixPath(str(name))
    if not isinstance(name, str) or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
        raise UserError(f"{said_by} names {name!r}, which is not inside the model's folder; give a plain relative name")
    return folder / name


def require_inside(folder: Path) -> None:
    """Raises UserError if a link leads out of the folder; the hub's cache links to its blobs, beside the snapshots."""
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise UserError(f"{folder} has more than {MOST_FILES:,} files and is no model; give the model's own folder")
        if path.is_symlink():
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError):
                raise UserError(f"{path} is a link to nothing; put the file itself there") from None
            if not target.is_relative_to(root):
                raise UserError(f"{path} is a link out of the model's folder, to {target}; put the file itself there")


def _tensors(folder: Path, pickled: bool) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its name; none of pickles, which tell it only when they are read."""
    file = weights_file(folder, pickled=pickled)
    if file is None:
        raise missing_weights(folder, pickled=pickled)
    if file.suffix == ".json":
        return _indexed_tensors(folder, file)
    if is_pickled(file):
        require_no_pointer(file)
        return {}
    return require_tensors(file)


def _indexed_tensors(folder: Path, index: Path) -> dict[str, tuple[int, ...]]:
    """As `_tensors`, of several files that an index names."""
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise UserError(f"{index} has no weight_map; copy the complete file again")
    shards = {name: inside(folder, name, index) for name in files.values() if isinstance(name, str)}
    found: dict[str, tuple[int, ...]] = {}
    for tensor, name in files.items():
        if name not in shards:
            raise UserError(f"{index}: the file of {tensor!r} is {name!r}, no name; copy the complete file again")
    for path in shards.values():
        if not path.is_file():
            raise MissingFileError(f"{path}, which {index.name} names, does not exist; copy all files of the model")
        if is_pickled(index):
            require_no_pointer(path)
        else:
            found |= require_tensors(path)
    if is_pickled(index):
        return {}
    if missing := files.keys() - found.keys():
        raise UserError(f"{index} names {min(missing)!r}, which no file has; copy all files of the model again")
    return found


def _require_width(tensors: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], folder: Path) -> None:
    """The word-embedding table is as large as config.json says; other shapes are told when the model is loaded."""
    width = next((config[key] for key in WIDTHS if key in config), None)
    said = (config.get("vocab_size"), width)
    for name, shape in tensors.items():
        if name.endswith(TABLE) and None not in said and shape != said:
            raise UserError(
                f"{folder / 'config.json'} says {said[0]} tokens of width {said[1]}, but {name} is "
                f"{' x '.join(map(str, shape))}; the two are of different models, copy all files of one"
            )
