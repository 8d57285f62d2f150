"""What a kind of projection is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from annotated_types import Gt, Le

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matryoshka.projection.pair_vectors import PairVectors

Side = Literal["both", "query"]
Rate = Annotated[float, Gt(0), Le(1), "1e-4; null to leave the matrix as it was fitted"]
Log = Callable[[int, float], Any]  # called with a step of the fit and its loss


class Projection(Protocol):
    """Finds a matrix (D, D): the first d numbers of x @ matrix, normalised, are the embedding of d numbers.

    kind: its name in tables. side: whose embeddings it is for. lr: its learning rate where an encoder is trained with
    it; None: it stays as it was fitted.
    """

    kind: str
    side: Side
    lr: float | None

    def fit(self, pairs: PairVectors, loss: nn.Module, seed: int, log: Log | None = None) -> Tensor:
        """The matrix in fp32: the same bits for the same pairs, seed and machine. loss: the nested one of training."""
