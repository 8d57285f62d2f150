"""A callback to see with: what the weights were after each update."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from tests.extending.additions import Addition

RECORDER = Addition(
    python='''"""The trained weights after each update, in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from matryoshka.training.module import EmbeddingModule


class Recorder(pl.Callback):
    """named: what the names of those weights begin with that are written."""

    def __init__(self, folder: str, named: str = "") -> None:
        self.folder = Path(folder)
        self.named = named

    def on_train_start(self, trainer: pl.Trainer, pl_module: EmbeddingModule) -> None:
        self.folder.mkdir(exist_ok=True)
        self._write(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: EmbeddingModule, *args: Any) -> None:
        self._write(pl_module)

    def _write(self, module: EmbeddingModule) -> None:
        named = module.encoder.named_parameters()
        weights = {name: weight.detach().clone() for name, weight in named if name.startswith(self.named)}
        torch.save(weights, self.folder / f"{module.updates:03}.pt")
''',
    group="callbacks",
    choice="recorder",
    yaml="""recorder:
  _target_: weight_recorder.Recorder
  folder: weights
""",
)


def recorded(folder: str = "weights") -> Iterator[dict[str, Tensor]]:
    """The trained weights at the start and after each update."""
    return (torch.load(path) for path in sorted(Path(folder).iterdir()))
