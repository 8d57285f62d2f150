"""A layer behind the pooling, as sentence-transformers' Dense: a matrix, perhaps a bias and an activation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from matryoshka.encoder.saved_dense import ACTIVATIONS


class Dense(nn.Module):
    """activation(x W^T + b). A fitted projection is one without bias and activation: it commutes with lengths.

    activation: one of torch.nn that takes each number on its own, as it is without arguments: others can't be saved.
    """

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = False, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation = nn.Identity() if activation is None else activation
        kind = type(self.activation)
        if kind not in [getattr(nn, name) for name in ACTIVATIONS] or repr(self.activation) != repr(kind()):
            raise ValueError(f"activation {self.activation}: give one of {', '.join(ACTIVATIONS)}, without arguments")

    @classmethod
    def of(cls, matrix_DE: Tensor) -> Dense:
        """The layer x -> x matrix."""
        dense = cls(*matrix_DE.shape)
        with torch.no_grad():
            dense.linear.weight.copy_(matrix_DE.T)
        return dense

    @property
    def width(self) -> int:
        """Numbers that come out."""
        return self.linear.out_features

    def forward(self, x_SD: Tensor) -> Tensor:
        """(S, D) -> (S, width), in fp32 whatever autocast says: what follows are similarities."""
        with torch.autocast(x_SD.device.type, enabled=False):
            x_SE: Tensor = self.activation(self.linear(x_SD.float()))
        return x_SE
