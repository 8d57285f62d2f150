from __future__ import annotations

from functools import partial

import torch

from matryoshka.encoder.dense import Dense
from matryoshka.training.own_rate import with_own_rate
from tests.tiny import tiny_encoder


def test_the_last_dense_layer_has_its_own_rate_though_it_comes_later() -> None:
    encoder = tiny_encoder()
    make = with_own_rate(partial(torch.optim.SGD, lr=0.5), encoder, 0.01)
    encoder.dense.append(Dense.of(torch.eye(32)))
    rest, own = make(encoder.parameters()).param_groups
    assert (rest["lr"], own["lr"]) == (0.5, 0.01)
    assert own["params"] == [encoder.dense[0].linear.weight]
    assert len(rest["params"]) == len(list(encoder.parameters())) - 1


def test_without_one_nothing_changes() -> None:
    make = partial(torch.optim.SGD, lr=0.5)
    assert with_own_rate(make, tiny_encoder(), None) is make
