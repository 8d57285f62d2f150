"""A model's folder through transformers, with everything that does not fit as one message."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from matryoshka.encoder.encoder_half import model_class
from matryoshka.encoder.model_folder import read_json
from matryoshka.encoder.weight_files import is_pickled, weights_file
from matryoshka.errors import UserError

UNUSED = "pooler."  # a layer of BERT's behind the hidden states, which poolings here do not use
OF_ONE_MODEL = "copy all files of one model into the folder"


def read_model(
    folder: Path, name: str, *, trust_remote_code: bool, pickled_weights: bool = False
) -> tuple[PreTrainedModel, Any]:
    """The transformer in fp32, of T5 and its like the encoder alone, and its tokenizer. name: of the model, for errors.

    pickled_weights: read pytorch_model.bin, tensors alone, where there are no safetensors.

    Raises UserError if the files cannot be read, weights are missing or not finite, or the tokenizer has more tokens
    than the model.
    """
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    weights = weights_file(folder, pickled=pickled_weights)
    pickle = weights if weights and is_pickled(weights) else None
    kind = str(read_json(folder / "config.json").get("model_type"))
    reading: dict[str, Any] = {"use_safetensors": pickle is None, "weights_only": True, "output_loading_info": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        backbone, told = model_class(kind).from_pretrained(folder, **reading, **options)
    except MemoryError:
        raise
    except Exception as error:  # the errors of transformers, tokenizers and safetensors are of every kind
        if pickle and isinstance(error, UnpicklingError):
            raise _not_tensors(pickle) from error
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise UserError(f"{name} cannot be loaded: {lines[0].strip()}; {OF_ONE_MODEL}") from error
    _require_working(tokenizer, name)
    _require_whole(backbone, set(told["missing_keys"]), name)
    _require_finite(backbone, name)
    rows, tokens = backbone.get_input_embeddings().num_embeddings, len(tokenizer)
    if tokens > rows:
        raise UserError(
            f"{name}: its tokenizer has {tokens:,} tokens, its model {rows:,} rows for them; {OF_ONE_MODEL}"
        )
    return backbone.float(), tokenizer


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of safetensors, or of a pickle that holds nothing else. Raises UserError if it cannot."""
    try:
        if not is_pickled(file):
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise _not_tensors(file) from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{file} cannot be read: {error}; copy the complete file again") from error
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise UserError(f"{file} holds other things than tensors by name; take the model from its source")
    return content


def _not_tensors(file: Path) -> UserError:
    return UserError(f"{file} is damaged or holds more than tensors, and nothing else is unpickled; use safetensors")


def _require_working(tokenizer: Any, name: str) -> None:
    """A file can be read and yet name tokens that it lacks, which ends in a panic of the library's Rust code."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # that of Rust; a tokenizer in Python has none
    try:
        if backend is not None:
            backend.encode("a text")
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{name}: its tokenizer cannot tokenize a text ({error}); {OF_ONE_MODEL}") from error


def _require_whole(backbone: PreTrainedModel, missing: set[str], name: str) -> None:
    for parameter, _ in backbone.named_parameters():
        if parameter in missing and not parameter.startswith(UNUSED):  # transformers would fill it with random numbers
            raise UserError(f"{name} has no weights for {parameter}, {len(missing)} are missing; {OF_ONE_MODEL}")


def _require_finite(backbone: PreTrainedModel, name: str) -> None:
    for parameter, values in backbone.named_parameters():
        if not bool(torch.isfinite(values).all()):
            raise UserError(f"{name}: the weights of {parameter} are not all finite; take the model from its source")
