"""Which files of a model's folder hold its weights. Imports nothing slow."""

from __future__ import annotations

from pathlib import Path

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
# What a message offers; only where a user has said so are pickles looked for.
READ_PICKLED = f"encoder.pickled_weights=true reads {PICKLED}, its tensors alone"


def weights_file(folder: Path, *, pickled: bool) -> Path | None:
    """The file of all weights, or the index of several; None if there is none. Pickles come last, and only if asked."""
    names = (WEIGHTS, INDEX, *((PICKLED, PICKLED_INDEX) if pickled else ()))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def is_pickled(file: Path) -> bool:
    """Whether such a file is a pickle, or the index of several."""
    return file.name in (PICKLED, PICKLED_INDEX)
