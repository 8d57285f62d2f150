"""The embeddings that a projection is fitted on: of each distinct text one, and which of them each pair has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from matryoshka.errors import DataError

CHUNK = 8192  # rows that are in memory at once, beside what is mapped from disk


@dataclass(frozen=True)
class PairVectors:
    """Embeddings of any length, perhaps mapped from a file and in float16: anchors_AD and positives_PD.

    anchor_N, positive_N: the rows of each pair. fingerprint: of the encoder that they are of; empty: unknown.
    Raises DataError for fewer than 2 pairs or vectors of two widths.
    """

    anchors_AD: Tensor
    positives_PD: Tensor
    anchor_N: Tensor
    positive_N: Tensor
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if len(self.anchor_N) < 2:
            raise DataError(f"a projection needs at least 2 pairs, and there is {len(self.anchor_N)}; give more")
        widths = self.anchors_AD.shape[1], self.positives_PD.shape[1]
        if widths[0] != widths[1]:
            raise DataError(f"queries have {widths[0]} numbers and documents {widths[1]}; both must be of one encoder")

    def __len__(self) -> int:
        return len(self.anchor_N)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.anchors_AD.shape[1]

    def chosen(self, rows_M: Tensor) -> PairVectors:
        """Some of the pairs, with the embeddings of all in the same memory."""
        return replace(self, anchor_N=self.anchor_N[rows_M], positive_N=self.positive_N[rows_M])

    def batch(self, rows_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors and positives of these pairs, (B, D), fp32, of length 1; and what are no negatives, (B, B).

        Those are the candidates whose positive or whose anchor is the row's own: right answers of it.
        """
        anchor_B, positive_B = self.anchor_N[rows_B], self.positive_N[rows_B]
        mask_BB = (anchor_B[:, None] == anchor_B) | (positive_B[:, None] == positive_B)
        return *self._vectors(rows_B), mask_BB

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All pairs in order, some thousands at a time."""
        for rows_B in torch.arange(len(self)).split(CHUNK):
            yield self._vectors(rows_B)

    @cached_property
    def cross_covariance_DD(self) -> Tensor:
        """Of anchors and positives, in fp64: found in one pass, for all kinds that begin with it."""
        return cross_covariance(self.batches())

    def passages(self) -> Iterator[Tensor]:
        """The distinct positives of the pairs, some thousands at a time, of length 1."""
        for rows_B in self.positive_N.unique().split(CHUNK):
            yield _unit(self.positives_PD[rows_B])

    def require_usable(self) -> None:
        """Raises DataError for the first vector that is not finite, or that is zero and so has no direction."""
        require_directions("queries", self.anchors_AD, self.anchor_N.unique())
        require_directions("documents", self.positives_PD, self.positive_N.unique())

    def _vectors(self, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        return _unit(self.anchors_AD[self.anchor_N[rows_B]]), _unit(self.positives_PD[self.positive_N[rows_B]])


def cross_covariance(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """mean of (x - mean x)^T (y - mean y): (D, D) in fp64, in one pass."""
    total, products_DD, sum_x_D, sum_y_D = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
    for x_BD, y_BD in batches:
        x_BD, y_BD = x_BD.double(), y_BD.double()
        products_DD, total = products_DD + x_BD.T @ y_BD, total + len(x_BD)
        sum_x_D, sum_y_D = sum_x_D + x_BD.sum(0), sum_y_D + y_BD.sum(0)
    return products_DD / total - torch.outer(sum_x_D, sum_y_D) / total**2


def _unit(x_BD: Tensor) -> Tensor:
    return F.normalize(x_BD.float(), dim=1)


def require_directions(name: str, vectors_ND: Tensor, rows_M: Tensor) -> None:
    """Raises DataError for the first of these rows that is not finite, or that is zero. name: of the file or side."""
    for rows_B in rows_M.split(CHUNK):
        squares_B = vectors_ND[rows_B].double().square().sum(1)
        if len(wrong := (~torch.isfinite(squares_B) | (squares_B == 0)).nonzero()):
            row = int(rows_B[wrong[0, 0]])
            what = "is zero, which has no direction" if squares_B[wrong[0, 0]] == 0 else "is not finite"
            raise DataError(f"{name}: the vector of row {row} {what}; leave it out, or encode it again")
