"""A run finds what an earlier one made: token ids, and the embeddings of the weights that it begins with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from matryoshka.encoder import Encoder, tokenizing
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def forbid(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Let every call of a tokenizer fail."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError(what)

    monkeypatch.setattr("transformers.PreTrainedTokenizerFast._encode_plus", fail)
    monkeypatch.setattr(tokenizing, "token_ids", fail)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A batch each: whether training had begun."""
    calls: list[bool] = []
    encode_batches, fit = Encoder.encode_batches, pl.Trainer.fit
    begun = [False]

    def watched(self: Encoder, *arguments: Any, **options: Any) -> Iterator[Any]:
        for found in encode_batches(self, *arguments, **options):
            calls.append(begun[0])
            yield found

    def began(self: pl.Trainer, *arguments: Any, **options: Any) -> None:
        begun[0] = True
        fit(self, *arguments, **options)

    monkeypatch.setattr(Encoder, "encode_batches", watched)
    monkeypatch.setattr(pl.Trainer, "fit", began)
    return calls


def test_nothing_is_tokenized_once_training_begins(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit: Callable[..., None] = pl.Trainer.fit

    def without_tokenizer(self: pl.Trainer, *arguments: Any, **options: Any) -> None:
        forbid(monkeypatch, "tokenized while training")
        fit(self, *arguments, **options)

    monkeypatch.setattr(pl.Trainer, "fit", without_tokenizer)
    assert run(monkeypatch, "logger=none", "export=none", "hydra.run.dir=run") == 0


def test_a_second_run_tokenizes_nothing_and_encodes_only_what_it_trained(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[bool]
) -> None:
    words = ("logger=none", "export=none", "trainer.max_epochs=1", "blend=none")
    assert run(monkeypatch, *words, "hydra.run.dir=first") == 0
    # dev and test before training and after it, where the epoch's weights are the best and dev is not encoded again;
    # and, after it, the training passages that int8 is calibrated on
    assert encoded.count(True) == encoded.count(False) + 1 > 1
    encoded.clear()

    forbid(monkeypatch, "tokenized a second time")
    assert run(monkeypatch, *words, "hydra.run.dir=second") == 0
    assert set(encoded) == {True}
    bases = [json.loads((workplace / name / "base.json").read_text()) for name in ("first", "second")]
    assert bases[0]["metrics"] == bases[1]["metrics"]
    assert bases[1]["seconds"] > 0


@pytest.mark.slow
def test_evaluate_encodes_a_model_once_whatever_is_measured(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[bool]
) -> None:
    assert run(monkeypatch, "logger=none", "hydra.run.dir=run") == 0
    encoded.clear()
    for dims, encodes in (("32,8", True), ("16", False)):
        assert run(monkeypatch, "model=run", f"dims=[{dims}]", "hydra.run.dir=measured", task="evaluate") == 0
        assert bool(encoded) == encodes
        encoded.clear()
