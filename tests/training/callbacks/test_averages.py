"""Averages of weights against loops over all weights that there were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from matryoshka.training.callbacks.averages import LastAverage, MovingAverage, WeightAverage
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, UPDATES, fit, small_module

pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNINGS_ADVICE]


class Weights(pl.Callback):
    """All weights that a run had, before the first and after each update."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.note(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.updates == len(self.seen):
            self.note(pl_module)

    def note(self, module: Any) -> None:
        self.seen.append({name: weight.detach().clone() for name, weight in module.encoder.named_parameters()})


def expected(average: WeightAverage, seen: list[dict[str, Tensor]], name: str) -> Tensor:
    """The same by hand, in fp64."""
    weights = [weights[name].double() for weights in seen]
    if isinstance(average, LastAverage):
        counted = max(1, round(UPDATES * average.last))
        return torch.stack(weights[-counted:]).mean(0)
    assert isinstance(average, MovingAverage)
    made = weights[0]
    for weight in weights[1:]:
        made = average.decay * made + (1 - average.decay) * weight
    return made


@pytest.mark.parametrize("average", [MovingAverage(0.7), LastAverage(0.5), LastAverage(1.0), LastAverage(0.01)])
def test_equals_a_loop_and_is_measured_in_place_of_the_weights(tmp_path: Path, average: WeightAverage) -> None:
    module, data = small_module()
    weights = Weights()

    fit(module, data, tmp_path, [average, weights])

    assert len(weights.seen) == UPDATES + 1
    trained = {name: weight.detach().clone() for name, weight in module.encoder.named_parameters()}
    with average.weights_to_measure(module):
        for name, weight in module.encoder.named_parameters():
            made = expected(average, weights.seen, name) if name in average.average else weight.double()
            torch.testing.assert_close(weight.double(), made, atol=1e-6, rtol=1e-5)
    assert all(torch.equal(weight, trained[name]) for name, weight in module.encoder.named_parameters())


def test_a_state_goes_on_to_the_same_average() -> None:
    one, other = MovingAverage(0.9), MovingAverage(0.9)
    one.updates, one.average = 3, {"a": torch.ones(2)}

    other.load_state_dict(one.state_dict())

    assert (other.updates, other.average) == (3, one.average)
