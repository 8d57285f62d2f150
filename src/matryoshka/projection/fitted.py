"""A matrix that another run has fitted."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from matryoshka.errors import UserError
from matryoshka.projection.projection import Log, Rate, Side
from matryoshka.projection.saved import SavedProjection

if TYPE_CHECKING:
    from matryoshka.projection.pair_vectors import PairVectors


class Fitted:
    """The matrix in a run's folder, or in a projection.safetensors, of the same encoder."""

    def __init__(self, run: str, lr: Rate | None = 1e-4) -> None:
        self.run, self.lr = run, lr

    @cached_property
    def saved(self) -> SavedProjection:
        """What the file has. Raises UserError if it cannot be read."""
        return SavedProjection.read(self.run)

    @property
    def kind(self) -> str:
        """How it was found."""
        return self.saved.kind

    @property
    def side(self) -> Side:
        """Whose embeddings it is for."""
        return self.saved.side

    def fit(self, pairs: PairVectors, loss: nn.Module, seed: int, log: Log | None = None) -> Tensor:
        """The matrix as it is. Raises UserError for one of another encoder: its numbers would mean nothing here."""
        if self.saved.width != pairs.width:
            raise UserError(
                f"{self.run}: the matrix takes {self.saved.width} numbers, and the encoder gives {pairs.width}"
            )
        if self.saved.fingerprint != pairs.fingerprint:
            whose = self.saved.encoder or "stored vectors"
            raise UserError(
                f"{self.run}: its matrix was fitted on {whose}, of other weights or another pooling than this encoder; "
                "fit one for it: task=project"
            )
        return torch.from_numpy(self.saved.matrix_DE)
