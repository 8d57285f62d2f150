"""A model measured, asked and compared, as `evaluate.py` does it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from matryoshka.encoder.encoder import Encoder
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")


def test_evaluate_measures_any_model_folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "model=tiny", "dims=[16]", "hydra.run.dir=measured", task="evaluate") == 0
    result = json.loads((workplace / "measured/results.json").read_text())
    assert list(result["metrics"]) == ["16"]
    assert result["queries"] == 12


@pytest.mark.slow
def test_a_run_is_compared_with_itself_before_training(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "logger=none", "export=none", "hydra.run.dir=run", "optimizer.lr=1e-2") == 0
    capsys.readouterr()
    assert run(monkeypatch, "compare=[run,run]", "hydra.run.dir=compared", task="evaluate") == 0
    base, tuned = (json.loads((workplace / f"run/{name}.json").read_text())["metrics"] for name in ("base", "results"))
    compared = json.loads((workplace / "compared/comparison.json").read_text())

    assert "wins" in capsys.readouterr().out.lower()
    assert [dim["dim"] for dim in compared["dims"]] == [32, 16]
    for dim in compared["dims"]:
        gain = tuned[str(dim["dim"])]["ndcg@10"] - base[str(dim["dim"])]["ndcg@10"]
        assert dim["difference"] == pytest.approx(gain)


def test_a_question_is_answered_at_every_dim(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = ("model=tiny", "dims=[32,16]", "ask=Wie füge ich eine Seitenzahl ein?", "hydra.run.dir=asked")
    assert run(monkeypatch, *words, task="evaluate") == 0
    told = capsys.readouterr().out

    assert "Wie füge ich eine Seitenzahl ein?" in told
    assert "32" in told and "16" in told
    assert not (workplace / "asked").exists()


def test_a_model_is_measured_without_training_pairs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (workplace / "train.jsonl").read_text(encoding="utf-8").splitlines()
    broken = json.dumps({**json.loads(rows[1]), "positive": ""})
    (workplace / "train.jsonl").write_text("\n".join([rows[0], broken]) + "\n", encoding="utf-8")

    assert run(monkeypatch, "model=tiny", "dims=[16]", "hydra.run.dir=measured", task="evaluate") == 0
    assert "left out, as int8 is calibrated on training passages: train.jsonl" in " ".join(
        capsys.readouterr().out.split()
    )
    assert (workplace / "measured/report.html").is_file()
    assert not (workplace / "measured/deployment.json").exists()


def test_an_empty_question_is_a_mistake(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "model=tiny", "dims=[16]", "ask=", "hydra.run.dir=asked", task="evaluate") == 2
    assert "ask: the question is empty" in capsys.readouterr().err
    assert not (workplace / "asked").exists()


def test_a_question_that_runs_out_of_memory_is_not_told_to_use_the_disk(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode(self: Encoder, *args: object, **options: object) -> object:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Encoder, "encode_batches", encode)
    for words, told in ((["ask=Wo?", "hydra.run.dir=asked"], False), (["hydra.run.dir=measured"], True)):
        assert run(monkeypatch, "model=tiny", "dims=[16]", "device=cpu", *words, task="evaluate") == 1
        said = capsys.readouterr().err
        assert "evaluator.token_budget=" in said
        assert ("evaluator.on_disk=true" in said) == told
