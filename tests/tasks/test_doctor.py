"""The task on its own: it reads, tells, writes, and returns how many warnings there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matryoshka.config.recipe import TrainingRecipe, build
from matryoshka.tasks import doctor as task
from matryoshka.tasks import loading
from tests.composing import plain
from tests.data.doctor.read_back import read_back
from tests.tiny import tiny_encoder


def test_the_task_examines_what_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(loading, "load_encoder", lambda config: tiny_encoder())
    for name, start in (("train", 0), ("evaluation", 39)):  # the last training pair is the first held-out one
        rows = [{"anchor": f"frage {i}", "positive": f"antwort {i}"} for i in range(start, start + 40)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    files = [f"data.{name}={tmp_path / f'{name}.jsonl'}" for name in ("train", "evaluation")]
    config = plain("data=pairs", *files, "split=same", "batch_size=16", "doctor.languages=0")

    warnings = task.doctor(build(config, TrainingRecipe), tmp_path / "run")

    found = read_back(json.loads((tmp_path / "run" / "doctor.json").read_text(encoding="utf-8")))
    assert warnings == len(found.warnings) == 2
    assert found.held_out["test"].queries_in_training.examples[0].row == 40
    assert found.batches is not None
    assert found.batches.batches == 3
    # <s> ▁ f r a g e ▁ 7 8 </s>
    assert found.held_out["test"].lengths["queries"].longest == found.columns["anchor"].lengths.longest == 11
    assert "of 40 queries of test, 1 equal a training text, in 1 row (first: q-0, anchor of row 40)" in (
        capsys.readouterr().out
    )
