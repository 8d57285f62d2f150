"""Projections by eigenvectors, found in fp64: in one pass over the embeddings, with nothing to tune."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from matryoshka.projection.pair_vectors import PairVectors, cross_covariance
from matryoshka.projection.projection import Log, Rate, Side


class PCA:
    """Directions of the passages' largest variance first. Needs no questions. Pearson 1901; Hotelling 1933."""

    kind = "pca"
    side: Side = "both"

    def __init__(self, lr: Rate | None = 1e-4) -> None:
        self.lr = lr

    def fit(self, pairs: PairVectors, loss: nn.Module, seed: int, log: Log | None = None) -> Tensor:
        """Orthogonal, so cosines at full width stay as they are."""
        return principal_axes(pairs)


class Rotation:
    """Directions first in which questions and their passages vary together."""

    kind = "rotation"
    side: Side = "both"

    def __init__(self, lr: Rate | None = 1e-4) -> None:
        self.lr = lr

    def fit(self, pairs: PairVectors, loss: nn.Module, seed: int, log: Log | None = None) -> Tensor:
        """Orthogonal, so cosines at full width stay as they are."""
        return rotation(pairs)


def principal_axes(pairs: PairVectors) -> Tensor:
    """Eigenvectors of the covariance of the distinct positives: (D, D), fp32, the largest eigenvalue first."""
    return _eigenvectors(cross_covariance((x_BD, x_BD) for x_BD in pairs.passages()))


def rotation(pairs: PairVectors) -> Tensor:
    """Eigenvectors of the symmetrised cross-covariance of anchors and positives: (D, D), fp32, the largest first.

    Each side is centred for this alone: centring the embeddings themselves would cost quality at full width.
    """
    cross_DD = pairs.cross_covariance_DD
    return _eigenvectors((cross_DD + cross_DD.T) / 2)


def _eigenvectors(symmetric_DD: Tensor) -> Tensor:
    """By falling eigenvalue; the largest number of each is positive, since its sign is otherwise the library's."""
    _, vectors_DD = torch.linalg.eigh(symmetric_DD)
    vectors_DD = vectors_DD.flip(1)
    largest_D = vectors_DD.gather(0, vectors_DD.abs().argmax(0, keepdim=True)).squeeze(0)
    signs_D = torch.where(largest_D < 0, -1.0, 1.0)
    signed_DD: Tensor = (vectors_DD * signs_D).float().contiguous()
    return signed_DD
