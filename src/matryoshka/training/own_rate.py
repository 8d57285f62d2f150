"""A learning rate of its own for the projection, beside that of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from matryoshka.encoder.encoder import Encoder

MakeOptimizer = Callable[[Any], Optimizer]


def with_own_rate(make: MakeOptimizer, encoder: Encoder, lr: float | None) -> MakeOptimizer:
    """The same, with `lr` for the encoder's last dense layer, which may be put there later; None: no other rate."""

    def made(parameters: Iterable[nn.Parameter]) -> Optimizer:
        own = {id(parameter) for parameter in encoder.dense[-1].parameters()}
        groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
        for parameter in parameters:
            groups[id(parameter) in own].append(parameter)
        return make([{"params": groups[0]}, {"params": groups[1], "lr": lr}])

    return made if lr is not None else make
