"""Averages of the weights over updates: they are measured, and kept as best, in place of those that are trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from matryoshka.training.module import EmbeddingModule


class WeightAverage(pl.Callback, ABC):
    """An average of the encoder's weights, in one copy of them; what it averages is said by `share`."""

    def __init__(self) -> None:
        self.updates = 0  # the last one that the average has taken in, or left out
        self.average: dict[str, Tensor] = {}

    @abstractmethod
    def share(self, update: int, updates: int) -> float:
        """How much of the average the weights after this update become, of so many updates in all."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are; a run that goes on has its average already."""
        for name, weight in _weights(pl_module).items():
            self.average[name] = self.average.get(name, weight).to(weight.device, copy=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Follow the weights after an update; most micro-batches make none where accumulation is above 1."""
        assert isinstance(pl_module, EmbeddingModule)
        if pl_module.updates > self.updates:
            self.updates = pl_module.updates
            weights = _weights(pl_module)
            averages = [self.average[name] for name in weights]
            torch._foreach_lerp_(averages, list(weights.values()), self.share(self.updates, pl_module.plan.updates))

    @contextmanager
    def weights_to_measure(self, module: pl.LightningModule) -> Iterator[None]:
        """Inside, the encoder has the average."""
        trained = {name: weight.clone() for name, weight in _weights(module).items()}
        _give(module, self.average)
        try:
            yield
        finally:
            _give(module, trained)

    def state_dict(self) -> dict[str, Any]:
        """What must survive a stop."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.updates, self.average = state_dict["updates"], dict(state_dict["average"])


class MovingAverage(WeightAverage):
    """The exponential moving average (EMA) of the weights, from those before the first update on.

    decay: the share of the average that an update leaves. Source: Polyak and Juditsky 1992, doi:10.1137/0330046.
    """

    def __init__(self, decay: Annotated[float, Ge(0), Lt(1), "0.98"] = 0.98) -> None:
        super().__init__()
        self.decay = decay

    def share(self, update: int, updates: int) -> float:
        """The same for every update."""
        return 1 - self.decay


class LastAverage(WeightAverage):
    """The mean of the weights after each of the last updates; before these, the weights as they are.

    last: the share of the run's updates whose weights count alike. Source: Izmailov et al. 2018, arXiv:1803.05407.
    """

    def __init__(self, last: Annotated[float, Gt(0), Le(1), "0.5"] = 0.5) -> None:
        super().__init__()
        self.last = last

    def share(self, update: int, updates: int) -> float:
        """1 for the first that counts, then 1/2, 1/3 ..."""
        first = min(updates, updates - round(updates * self.last) + 1)
        return 1 / max(1, update - first + 1)


def _weights(module: pl.LightningModule) -> dict[str, Tensor]:
    assert isinstance(module, EmbeddingModule)
    return {name: weight.detach() for name, weight in module.encoder.named_parameters() if weight.requires_grad}


def _give(module: pl.LightningModule, weights: dict[str, Tensor]) -> None:
    assert isinstance(module, EmbeddingModule)
    module.encoder.load_state_dict(weights, strict=False)
