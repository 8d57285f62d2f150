"""A model with Dense modules through a whole run: trained, cut, saved, and measured again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from matryoshka.encoder import Encoder
from matryoshka.encoder.dense import Dense
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tasks.test_train_and_sweep import run, workplace
from tests.tiny import tiny_encoder

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")
TEXTS = ["Wie füge ich eine Seitenzahl ein?", "x"]


@pytest.fixture
def dense(workplace: Path) -> Encoder:
    """The tiny model with layers behind it, 32 -> 40 -> 24, in the place of the one without."""
    encoder = tiny_encoder()
    torch.manual_seed(0)
    encoder.dense = nn.Sequential(Dense(32, 40, bias=True, activation=nn.Tanh()), Dense(40, 24))
    SentenceTransformersFolder().save(encoder, workplace / "tiny")
    return encoder


def metrics(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    return found


def test_a_run_trains_them_and_its_model_is_cut_and_measured_again(
    workplace: Path, dense: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("dims=[24,8]", "export.dim=8", "pairs_at_once=2", "optimizer.lr=1e-2", "logger=none")
    assert run(monkeypatch, *words, "hydra.run.dir=run") == 0
    encoder = Encoder.load("run/model")
    assert encoder.width == 8
    first = encoder.get_parameter("dense.0.linear.weight")
    assert first.shape == (40, 32)
    assert not torch.equal(first, dense.get_parameter("dense.0.linear.weight"))
    card = (workplace / "run/model/README.md").read_text(encoding="utf-8")
    assert "(3): Dense({'in_features': 40, 'out_features': 8" in card

    assert run(monkeypatch, "model=run", "hydra.run.dir=measured", task="evaluate") == 0
    saved, measured = metrics(workplace / "run/results.json"), metrics(workplace / "measured/results.json")
    assert (list(saved), list(measured)) == (["24", "8"], ["8"])
    for name, value in measured["8"].items():
        assert value == pytest.approx(saved["8"][name], abs=1e-6), name


def test_a_saved_folder_is_measured_with_the_embeddings_of_its_layers(
    workplace: Path, dense: Encoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.testing.assert_array_equal(Encoder.load("tiny").encode(TEXTS), dense.encode(TEXTS))
    assert run(monkeypatch, "model=tiny", "dims=[24]", "hydra.run.dir=measured", task="evaluate") == 0
    assert list(metrics(workplace / "measured/results.json")) == ["24"]

    assert run(monkeypatch, "model=tiny", "dims=[32]", "hydra.run.dir=wide", task="evaluate") == 2
    assert "32 is wider than the encoder's 24; use dims=[24]" in " ".join(capsys.readouterr().err.split())
