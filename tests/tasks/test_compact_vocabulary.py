"""A run that trains only the rows of the word-embedding table that occur, against one that trains all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.slow
def test_the_saved_model_is_the_same_bit_for_bit(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for name, word in (("part", "true"), ("whole", "false")):
        assert run(monkeypatch, f"compact_vocabulary={word}", "logger=none", f"hydra.run.dir={name}") == 0
        said[name] = " ".join(capsys.readouterr().out.split())

    assert "rows of the word-embedding table occur and are trained, which saves" in said["part"]
    assert "every row of the word-embedding table is trained, as configured" in said["whole"]
    weights = [(workplace / name / "model/model.safetensors").read_bytes() for name in said]
    assert weights[0] == weights[1]
    logs = [(workplace / name / "metrics.jsonl").read_text().splitlines() for name in said]
    losses = [[json.loads(line).get("train/loss") for line in log] for log in logs]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_weight_decay_trains_every_row_and_says_why(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "optimizer.weight_decay=0.01", "logger=none", "hydra.run.dir=run") == 0
    assert "every row of the word-embedding table is trained: AdamW as configured changes rows that no text uses" in (
        capsys.readouterr().out.replace("\n", " ")
    )
