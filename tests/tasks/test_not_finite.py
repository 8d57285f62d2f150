"""A training whose numbers break: what the user is told, and what the run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")
BROKEN = ("optimizer.lr=1e38", "scheduler.warmup=0", "logger=none", "hydra.run.dir=run")  # so the first update breaks


def test_a_run_that_breaks_says_where_and_keeps_the_step(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *BROKEN) == 1
    told = capsys.readouterr().err
    kept = workplace / "run/not_finite"
    step = json.loads((kept / "step.json").read_text())
    rows = [json.loads(line) for line in (kept / "rows.jsonl").read_text().splitlines()]

    assert f"NotFiniteError: update {step['update']} in epoch {step['epoch']} was not made" in told
    assert "Traceback" not in told and "Traceback" in (workplace / "run/train.log").read_text()
    for part in ("optimizer.lr (it is 1e+38)", "not_finite=skip", f"is kept in {kept}", "at dims 32, 16"):
        assert part in told, told
    source = [json.loads(line) for line in (workplace / "train.jsonl").read_text().splitlines()]
    assert rows and all(source[row["row"] - 1]["anchor"] == row["anchor"] for row in rows)
    assert f"{rows[0]['row']} ('{rows[0]['anchor'][:20]}" in told
    assert set(json.loads((kept / "gradient_norms.json").read_text()).values()) >= {"nan"}
    assert list(load_file(kept / "random_states.safetensors")) == ["micro_batch_0"]
    assert (kept / "model/model.safetensors").is_file()
    assert not (workplace / "run/results.json").exists()


def test_a_run_that_skips_too_often_ends_as_well(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *BROKEN, "not_finite=skip", "skipped_at_most=1", "trainer.max_epochs=3") == 1
    assert "skipped_at_most=1" in capsys.readouterr().err
