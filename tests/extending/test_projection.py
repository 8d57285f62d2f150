"""A projection of one's own, and what becomes of one in a training that is killed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from matryoshka.projection.saved import SavedProjection
from tests.composing import plain, problems
from tests.extending.additions import (
    Addition,
    add,
    outcome,
    train,
    train_counting,
    train_tiny,
    train_until_call,
)
from tests.projection.pairs import planted

DIFFERENCE = Addition(
    python='''"""Directions first in which a question and its passage differ least."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from matryoshka.projection.pair_vectors import PairVectors
from matryoshka.projection.projection import Side


class DifferenceAxes:
    """Eigenvectors of the covariance of anchor - positive, the smallest eigenvalue first."""

    kind = "difference"
    side: Side = "both"

    def __init__(self, lr: float | None = 1e-4) -> None:
        self.lr = lr

    def fit(self, pairs: PairVectors, loss: Any, seed: int, log: Any = None) -> Tensor:
        """Found in fp64, in one pass over the pairs."""
        covariance_DD = torch.zeros(pairs.width, pairs.width, dtype=torch.float64)
        for anchors_BD, positives_BD in pairs.batches():
            difference_BD = (anchors_BD - positives_BD).double()
            covariance_DD += difference_BD.T @ difference_BD
        vectors_DD: Tensor = torch.linalg.eigh(covariance_DD).eigenvectors
        return vectors_DD.float()
''',
    group="projection",
    choice="difference",
    yaml="""# Directions first in which a question and its passage differ least.
_target_: difference_axes.DifferenceAxes
lr: 1e-4
""",
)


@pytest.fixture
def searchpath(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return add(monkeypatch, DIFFERENCE)


def test_its_first_direction_is_the_one_of_the_least_difference(searchpath: str) -> None:
    projection = instantiate(plain(searchpath, "projection=difference")["projection"])
    pairs = planted()
    x_ND, y_ND, _ = pairs.batch(torch.arange(len(pairs)))
    spread_D = ((x_ND - y_ND) @ projection.fit(pairs, None, 0)).square().sum(0)
    assert spread_D.tolist() == sorted(spread_D.tolist())


def test_its_arguments_are_checked(searchpath: str) -> None:
    ((key, message),) = problems(searchpath, "projection=difference", "+projection.rl=1")
    assert key == "projection.rl"
    assert "lr" in message


@pytest.mark.filterwarnings("default")
def test_it_is_fitted_measured_and_saved(searchpath: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (searchpath, "task=project", "projection=difference", "projections=[]")
    assert train_tiny(monkeypatch, *words) == 0
    assert SavedProjection.read("run").kind == "difference"
    assert json.loads(Path("run/results.json").read_text())["metrics"].keys() == {"32", "8"}
    assert Path("run/model/modules.json").is_file()


@pytest.mark.slow
def test_on_the_embedded_encoder_a_training_from_one_survives_a_kill_to_the_bit(searchpath: str) -> None:
    calls = train_counting("projection=learned", "hydra.run.dir=whole")
    call = random.Random("projection").randint(1, calls)
    train_until_call(call, "projection=learned", "hydra.run.dir=killed")
    train("projection=learned", "hydra.run.dir=killed")
    assert outcome("killed") == outcome("whole"), f"killed before call {call}"
