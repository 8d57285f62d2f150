"""Run with the Python of an environment with sentence-transformers 3.0.1: what it makes of folders.

    python in_3_0_1.py request.json answer

request.json: {"models": {name: folder}, "texts": [...], "cases": [[prompt or null, dim or null], ...],
"transformer": folder, "max_seq_length": number, "pooling": {option: value}, "settings": {option: value},
and perhaps "dense": [[numbers in, numbers out, bias, activation], ...]}.
Into the folder `answer` go facts.json (of every model, with the versions), the embeddings of each case as
<model>-<prompt>-<dim>.npy, and as `built` a model that this release builds over the transformer and saves, as
`built with dense` another one with these modules, and embeddings of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, models  # type: ignore[attr-defined]  # newer ones have no models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("request", type=Path)
    parser.add_argument("answer", type=Path)
    options = parser.parse_args()
    request = json.loads(options.request.read_text(encoding="utf-8"))
    options.answer.mkdir()
    facts: dict[str, Any] = {name: version(name) for name in ("sentence-transformers", "transformers", "torch")}
    build(request).save(str(options.answer / "built"), create_model_card=False)
    torch.manual_seed(1)
    if layers := request.get("dense"):
        with_dense = build(request, [dense(*layer) for layer in layers])
        with_dense.save(str(options.answer / "built with dense"), create_model_card=False)
        encode(with_dense, "built with dense", request, options.answer)
    facts["models"] = {}
    for name, folder in request["models"].items():
        model = SentenceTransformer(folder, device="cpu", local_files_only=True)
        facts["models"][name] = facts_of(model)
        encode(model, name, request, options.answer)
    (options.answer / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def dense(takes: int, gives: int, bias: bool, activation: str) -> Any:
    """A module as this release makes it."""
    return models.Dense(takes, gives, bias=bias, activation_function=getattr(torch.nn, activation)())


def build(request: dict[str, Any], dense_modules: Sequence[Any] = ()) -> Any:
    """A model of this release's own modules, as its documentation builds one."""
    transformer = models.Transformer(request["transformer"], max_seq_length=request["max_seq_length"])
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), **request["pooling"])
    modules = [transformer, pooling, *dense_modules, models.Normalize()]
    return SentenceTransformer(modules=modules, device="cpu", **request["settings"])


def facts_of(model: Any) -> dict[str, Any]:
    """What the release read of a folder's settings."""
    return {
        "modules": [type(module).__name__ for module in model],
        "max_seq_length": model.max_seq_length,
        "pooling": model[1].get_config_dict(),
        "prompts": model.prompts,
        "default_prompt_name": model.default_prompt_name,
        "similarity_fn_name": model.similarity_fn_name,
        "width": model.get_sentence_embedding_dimension(),
    }


def encode(model: Any, name: str, request: dict[str, Any], answer: Path) -> None:
    """Embeddings of length 1 with a prompt or none, of full width or cut."""
    for prompt, dim in request["cases"]:
        options = {"prompt_name": prompt, "normalize_embeddings": True, "batch_size": 8}
        with model.truncate_sentence_embeddings(dim):
            np.save(answer / f"{name}-{prompt}-{dim}.npy", model.encode(request["texts"], **options))


if __name__ == "__main__":
    main()
