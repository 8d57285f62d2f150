"""The files of a tokenizer: whether there are any, and which packages their kind needs. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matryoshka.encoder.missing_weights import MissingFileError
from matryoshka.errors import UserError

WHOLE = "tokenizer.json"  # what needs no other file, nor a package
SENTENCEPIECE = (
    *("tokenizer.model", "sentencepiece.bpe.model", "sentencepiece.model", "spiece.model", "spm.model", "source.spm"),
)
TOKENIZERS = (WHOLE, "vocab.txt", "vocab.json", *SENTENCEPIECE)
BYTES = ("canine", "byt5")  # kinds of models, and names of tokenizers, that need no file of a vocabulary
START = b"\n"  # of a sentencepiece model, which is protobuf; tiktoken's files, which may be called the same, are text
PACKAGES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}  # to import -> to install
REMEDY = "pip install 'matryoshka[sentencepiece]'"


def require_tokenizer(folder: Path, config: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UserError if there is no tokenizer, its kind needs a package that is not installed, or it is damaged.

    config: of config.json. settings: of the tokenizer's JSON files by their names.
    """
    if not any((folder / name).is_file() for name in TOKENIZERS):
        if _reads_bytes(config, settings):
            return
        raise MissingFileError(f"{folder} has no tokenizer: {WHOLE} is missing; copy it from the model's source")
    file = next((folder / name for name in SENTENCEPIECE if (folder / name).is_file()), None)
    if file is None or (folder / WHOLE).is_file():
        return
    with file.open("rb") as opened:
        start = opened.read(len(START))
    if start == START:
        _require_sentencepiece(file)
    elif find_spec("tiktoken") is None:
        raise UserError(
            f"{file} is no sentencepiece model and, if it is tiktoken's, needs tiktoken, which is not installed; pip "
            f"install tiktoken, or copy {WHOLE} from the model's source"
        )


def _require_sentencepiece(file: Path) -> None:
    missing = [package for module, package in PACKAGES.items() if not _installed(module)]
    if missing:
        raise UserError(
            f"{file} is a sentencepiece model without {WHOLE} beside it, and {' and '.join(missing)} not installed; "
            f"{' '.join([REMEDY, *(name for name in missing if name != 'sentencepiece')])}"
        )
    import sentencepiece

    try:
        sentencepiece.SentencePieceProcessor().LoadFromSerializedProto(file.read_bytes())
    except RuntimeError as error:
        raise UserError(f"{file} is damaged or no sentencepiece model; copy the complete file again") from error


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not
        return False


def _reads_bytes(config: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the tokens of a model are bytes or characters."""
    tokenizer = settings.get("tokenizer_config.json", {}).get("tokenizer_class") or config.get("tokenizer_class")
    return config.get("model_type") in BYTES or str(tokenizer).lower().startswith(BYTES)
