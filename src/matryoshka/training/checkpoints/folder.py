"""One checkpoint: a folder of files with their checksums, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor, nn

from matryoshka.errors import UserError
from matryoshka.memory.limits import is_shortage
from matryoshka.storage.atomic import whole_folder, write_json
from matryoshka.training.checkpoints.hashed_file import HashedFile
from matryoshka.training.checkpoints.trained_part import trained_part
from matryoshka.training.checkpoints.weights_file import write_weights

FORMAT = 3
WEIGHTS, TRAINING, MANIFEST = "model.safetensors", "training.pt", "manifest.json"


class BrokenCheckpointError(Exception):
    """A checkpoint that cannot be gone on from; names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in a folder. update: after which it was saved. run: the hash of its run's configuration."""

    folder: Path
    update: int
    run: str
    files: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read the manifest. Raises BrokenCheckpointError, and UserError for a checkpoint of another format."""
        path = folder / MANIFEST
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            if plain["format"] != FORMAT:
                said = f"{path}: of format {plain['format']}, where this version of matryoshka has {FORMAT}"
                raise UserError(f"{said}; go on with the version that wrote it, or begin a new run")
            return cls(folder, int(plain["update"]), str(plain["run"]), dict(plain["files"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BrokenCheckpointError(f"{path}: no manifest of a checkpoint ({_in_words(error)})") from error

    def check(self) -> None:
        """Raises BrokenCheckpointError unless every file is as it was written."""
        for name, expected in self.files.items():
            path = self.folder / name
            if not path.is_file():
                raise BrokenCheckpointError(f"{path}: missing")
            if (size := path.stat().st_size) != expected["bytes"]:
                raise BrokenCheckpointError(f"{path}: {size:,} bytes where {expected['bytes']:,} were written")
            if checksum(path) != expected["sha256"]:
                raise BrokenCheckpointError(f"{path}: its content is not what was written (the checksum differs)")

    def load_weights(self, model: nn.Module) -> None:
        """Give the model these weights. Raises BrokenCheckpointError for those of another model."""
        path = self.folder / WEIGHTS
        try:
            missing, unknown = load_model(model, path, strict=False)
            if wrong := sorted(unknown) or sorted(trained_part(model).keys() & missing):
                raise RuntimeError(f"{wrong[0]} is only in {'the file' if unknown else 'the model'}")
        except (OSError, RuntimeError, SafetensorError) as error:
            raise BrokenCheckpointError(f"{path}: not the weights of this model ({_in_words(error)})") from error

    def training(self) -> dict[str, Any]:
        """The training's state: plain values and tensors, on the CPU; nothing else is unpickled."""
        path = self.folder / TRAINING
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, UnpicklingError) as error:
            if is_shortage(error):  # which is no fault of the file's
                raise
            raise BrokenCheckpointError(f"{path}: not the state of a training ({_in_words(error)})") from error
        return state


def write_checkpoint(
    folder: Path,
    update: int,
    run: str,
    weights: Mapping[str, Tensor] | Checkpoint,
    training: Mapping[str, Any] | None = None,
    check: Callable[[], None] | None = None,
) -> Checkpoint:
    """A checkpoint in place of what the folder held.

    weights: a model's state, or another checkpoint, whose file is then shared. training: None for weights alone.
    check: called again and again; what it raises ends the writing. Raises DiskFullError.
    """
    files = {}
    with whole_folder(folder, _bytes(weights) + _bytes(training)) as beside:
        if isinstance(weights, Checkpoint):
            _share(weights.folder / WEIGHTS, beside / WEIGHTS)
            files[WEIGHTS] = dict(weights.files[WEIGHTS])
        else:
            with _hashed(beside / WEIGHTS, check) as file:
                write_weights(file, weights)
            files[WEIGHTS] = file.facts()
        if training is not None:
            with _hashed(beside / TRAINING, check) as file, _without_crc32():
                torch.save(dict(training), file)  # type: ignore[arg-type]
            files[TRAINING] = file.facts()
        write_json(beside / MANIFEST, {"format": FORMAT, "update": update, "run": run, "files": files})
    return Checkpoint(folder, update, run, files)


@contextmanager
def _hashed(path: Path, check: Callable[[], None] | None) -> Iterator[HashedFile]:
    with path.open("wb") as file:
        yield HashedFile(file, check)


@contextmanager
def _without_crc32() -> Iterator[None]:
    """The manifest's SHA-256 says more than torch's own checksum, which takes a third of the time of torch.save."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def checksum(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _share(file: Path, other: Path) -> None:
    """Files of checkpoints are never written to, so two names of one are as good as a copy."""
    try:
        os.link(file, other)
    except OSError:  # a file system without links
        shutil.copyfile(file, other)


def _bytes(what: Any) -> int:
    """The bytes of the tensors in a state; 0 for a checkpoint that is there already."""
    if isinstance(what, Tensor):
        return what.numel() * what.element_size()
    inner = what.values() if isinstance(what, Mapping) else what if isinstance(what, list | tuple) else ()
    return sum(map(_bytes, inner))


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
