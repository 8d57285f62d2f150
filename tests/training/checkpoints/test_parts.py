"""Parts of a run that have a state: found among others, noted, and given back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from matryoshka.training.checkpoints.parts import Parts, states


class Counter:
    def __init__(self, count: int = 0) -> None:
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Stateless:
    def state_dict(self) -> dict[str, Any]:
        return {}


def test_those_with_a_state_are_found() -> None:
    parts = Parts.among({"loss": nn.Linear(1, 1), "sampler": object()}, {"progress": Counter(), "other": Stateless()})
    assert (list(parts.of_step), list(parts.of_run)) == (["loss"], ["progress"])


def test_each_goes_on_from_its_own_state() -> None:
    parts = Parts.among({"one": Counter(1), "weights": nn.Linear(2, 1)}, {"one": Counter(2)})
    noted = (states(parts.of_step), states(parts.of_run))
    others = Parts.among({"one": Counter(), "weights": nn.Linear(2, 1)}, {"one": Counter()})

    others.load(*noted)

    assert [others.of_step["one"].state_dict(), others.of_run["one"].state_dict()] == [{"count": 1}, {"count": 2}]
    weights = others.of_step["weights"].state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in parts.of_step["weights"].state_dict().items())


def test_a_part_without_a_saved_state_is_an_error() -> None:
    with pytest.raises(KeyError, match="new"):
        Parts.among({}, {"new": Counter()}).load({}, {})
