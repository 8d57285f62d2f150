"""Scripts run in the environment with sentence-transformers 3.0.1, where we are not installed, and their answers."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from matryoshka.encoder import Encoder
from tests.parity.files import read_json

OLDEST, OLDEST_TRANSFORMERS = "sentence-transformers 3.0.1", "transformers 4.44.0"


def in_oldest_release(python: Path, script: Path, request: object, folder: Path) -> Path:
    """Run a script that reads request.json and writes `answer`, a file or a folder; returns its path.

    python: as the fixture oldest_release gives it.
    """
    asked, answer = folder / "request.json", folder / "answer"
    asked.write_text(json.dumps(request), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run([python, script, asked, answer], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return answer


def saved_by_transformers(encoder: Encoder, folder: Path) -> Path:
    """The encoder as transformers alone saves it; our exporter has no part in the folder."""
    encoder.backbone.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = read_json(path)
    assert config["tokenizer_class"] == "TokenizersBackend"  # a name that transformers 4 has for no class
    path.write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")
    return folder


class Answer:
    """What in_3_0_1.py made of model folders, and the model that it built itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built = folder / "built"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Versions, and what was read of every model's settings."""
        facts: dict[str, Any] = read_json(self.folder / "facts.json")
        return facts

    def embeddings(self, model: str, prompt: str | None, dim: int | None) -> Any:
        """Of all texts, one a row."""
        return np.load(self.folder / f"{model}-{prompt}-{dim}.npy")
