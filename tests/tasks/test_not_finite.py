"""A training whose numbers break: what the user is told, and what the run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from matryoshka import Encoder
from matryoshka.config.limits import OF_LIBRARIES
from matryoshka.training import nonfinite
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")
BROKEN = ("optimizer.lr=1e38", "scheduler.warmup=0", "logger=none", "hydra.run.dir=run")  # so the first update breaks


def test_a_run_that_breaks_says_where_and_keeps_the_step(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(OF_LIBRARIES["torch.optim.AdamW"], "lr", float)  # such a rate is refused at the start
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
    assert not (workplace / "run/results.json").exists()


def test_the_rows_of_a_kept_step_can_be_encoded_by_its_model(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-batches, which are held to be broken."""
    monkeypatch.setattr(nonfinite, "read", lambda flag: True)
    assert run(monkeypatch, "accumulation=2", "logger=none", "hydra.run.dir=run") == 1

    kept = workplace / "run/not_finite"
    was = json.loads((kept / "step.json").read_text())["micro_batches"]
    rows = [json.loads(line) for line in (kept / "rows.jsonl").read_text().splitlines()]
    assert [len(micro["rows"]) for micro in was] == [sum(row["micro_batch"] == i for row in rows) for i in (0, 1)]
    found, started = (
        Encoder.load(str(model)).encode([row["anchor"] for row in rows]) for model in (kept / "model", "tiny")
    )
    np.testing.assert_array_equal(found, started)
