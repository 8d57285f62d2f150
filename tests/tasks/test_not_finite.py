"""A training whose numbers break: what the user is told, and what the run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matryoshka.tasks.repeat import repeat
from safetensors.torch import load_file

from matryoshka.config.limits import OF_LIBRARIES
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.training import nonfinite
from tests.tasks.test_train_and_sweep import run, workplace
from tests.tiny import tiny_encoder

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")
REPEATED = Path("run/not_finite")
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
    assert list(load_file(kept / "random_states.safetensors")) == ["micro_batch_0"]
    (again,) = repeat(kept)
    assert again.first_module and {dim: str(loss) for dim, loss in again.per_dim.items()} == {"32": "nan", "16": "nan"}
    assert not (workplace / "run/results.json").exists()


def test_a_kept_step_can_be_computed_again_to_the_bit(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-batches with dropout, which are held to be broken."""
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.3), workplace / "tiny")
    monkeypatch.setattr(nonfinite, "read", lambda flag: True)
    assert run(monkeypatch, "accumulation=2", "logger=none", "hydra.run.dir=run") == 1

    was = json.loads((REPEATED / "step.json").read_text())["micro_batches"]
    now = repeat(REPEATED)
    assert [micro["loss_by_dim"] for micro in was] == [dict(micro.per_dim) for micro in now]
    assert len(now) == 2 and [micro.first_module for micro in now] == [None, None]
