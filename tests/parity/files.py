"""What files of a model hold, as values that can be compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open


def read_json(path: Path) -> Any:
    """What a JSON file says."""
    return json.loads(path.read_text(encoding="utf-8"))


def names_of_files(folder: Path) -> list[str]:
    """Paths of all files and folders in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def weights(folder: Path) -> list[tuple[str, str, tuple[int, ...], str]]:
    """Name, type, shape and content of every tensor in model.safetensors."""
    with safe_open(folder / "model.safetensors", "np") as tensors:
        return [
            (name, str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest())
            for name in sorted(tensors.keys())
            for array in [tensors.get_tensor(name)]
        ]
