"""Sweeps of a tiny encoder: each job once, failures named, everything summed up."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.sweep.jobs import the_only_sweep
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries

SWEEP = ["-m", "logger=none", "export=none", "hydra.sweep.dir=sweep", "evaluator.select=ndcg@10/dim_16"]
RATES = "optimizer.lr=1e-3,1e-2"


def summary(workplace: Path) -> list[dict[str, str]]:
    with (workplace / "sweep/summary.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses(workplace: Path) -> dict[str, Mapping[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in (workplace / "sweep").glob("*/status.json")}


def written(workplace: Path) -> dict[str, float]:
    """When each job's results were written."""
    return {path.parent.name: path.stat().st_mtime for path in (workplace / "sweep").glob("*/results.json")}


def failing_at(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every job with this rate fail, after its base was measured."""
    from matryoshka.tasks.run import Run

    fit = Run.fit

    def fitted(run: Run, training: Any) -> None:
        if run.recipe.config["optimizer"]["lr"] == rate:
            raise RuntimeError("the disk is on fire")
        fit(run, training)

    monkeypatch.setattr(Run, "fit", fitted)


@pytest.mark.slow
def test_every_job_runs_once_and_new_values_add_only_their_own(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *SWEEP, "dims=[32,16],[16,8]") == 0
    assert "2 jobs" in capsys.readouterr().out
    first = written(workplace)
    assert len(first) == 2
    rows = summary(workplace)
    assert [row["status"] for row in rows] == ["done"] * 2
    selected = [float(row["selected"]) for row in rows]
    assert selected == sorted(selected, reverse=True)
    for row in rows:  # a sweep must not choose by test queries
        job = workplace / "sweep" / row["job"]
        logged = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
        assert float(row["selected"]) == logged[-1]["dev/ndcg@10/dim_16"]

    assert run(monkeypatch, *SWEEP, "dims=[32,16],[16,8],[16]") == 0
    assert "3 jobs, 2 of them done before" in capsys.readouterr().out
    second = written(workplace)
    assert len(second) == 3 and {name: second[name] for name in first} == first
    assert len(summary(workplace)) == 3
    for name in ("summary.parquet", "index.html", "experiment/best_job.yaml"):
        assert (workplace / "sweep" / name).is_file(), name


@pytest.mark.slow
def test_a_failing_job_is_named_the_others_finish_and_only_it_runs_again(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        failing_at(1e-3, broken)
        assert run(broken, *SWEEP, RATES) == 1
    assert "1 job failed, each with its reason in its own log: optimizer.lr=0.001" in capsys.readouterr().err
    failed = statuses(workplace)["optimizer.lr=0.001"]
    assert failed["error"] == "RuntimeError: the disk is on fire"
    assert "Traceback" in failed["traceback"]
    assert [(row["job"], row["status"]) for row in summary(workplace)] == [
        ("optimizer.lr=0.01", "done"),
        ("optimizer.lr=0.001", "failed"),
    ]
    before = written(workplace)
    assert run(monkeypatch, *SWEEP, RATES) == 0
    after = written(workplace)
    assert len(after) == 2 and after["optimizer.lr=0.01"] == before["optimizer.lr=0.01"]


@pytest.mark.slow
def test_changed_data_is_another_job(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *SWEEP, "seed=1") == 0
    lines = (workplace / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (workplace / "train.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    before = written(workplace)
    assert run(monkeypatch, *SWEEP, "seed=1") == 0
    assert written(workplace) != before
    assert len(list((workplace / "sweep/superseded").iterdir())) == 1


def test_problems_of_any_job_are_found_before_the_first_starts(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *SWEEP, "dims=[64,16],[32,16]", "batch_size=4,1") == 2
    shown = capsys.readouterr().err
    assert "dims[0]: 64 is wider" in shown and "(2 jobs, the first of them dims=64-16,batch_size=4)" in shown
    assert "batch_size: with 1 pair" in shown
    assert not list((workplace / "sweep").glob("*/results.json"))


def test_a_second_sweep_in_the_same_folder_is_refused(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with the_only_sweep(workplace / "sweep"):
        assert run(monkeypatch, *SWEEP, RATES) == 2
    assert "another sweep is running in this folder" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_sweep_still_sums_up(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, calls = Evaluator.evaluate, []

    def interrupted(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > 7:
            raise KeyboardInterrupt
        return evaluate(*given, **named)

    monkeypatch.setattr(Evaluator, "evaluate", interrupted)
    assert run(monkeypatch, *SWEEP, RATES) == 130
    assert [row["status"] for row in summary(workplace)] == ["done", "running"]


def test_without_a_folder_of_its_own_a_sweep_is_named_after_what_it_varies(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", "task=doctor", "data.train=train.jsonl,evaluation.jsonl", "logger=none"]
    assert run(monkeypatch, *words) == 0
    found = sorted(path.parent.name for path in (workplace / "multirun/train/train-doctor").glob("*/doctor.json"))
    assert found == ["data.train=evaluation.jsonl", "data.train=train.jsonl"]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(__file__).parents[2] / "train.py"
    shutil.rmtree(workplace / "cache", ignore_errors=True)
    data = ["data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl"]
    model = ["encoder=pretrained", "encoder.model=tiny", "pooling=saved", "dims=[32,16]", "batch_size=4"]
    rates = "optimizer.lr=1e-3,2e-3,3e-3,4e-3,5e-3,6e-3,7e-3,8e-3"
    words = [sys.executable, str(script), *SWEEP, *data, *model, rates, "trainer.max_epochs=1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(written(workplace)) < 3 or not any(s["state"] == "running" for s in statuses(workplace).values()):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workplace / "sweep/summary.csv").exists()
    done = {name for name, status in statuses(workplace).items() if status["state"] == "done"}
    before = {name: when for name, when in written(workplace).items() if name in done}
    assert 2 <= len(done) < 8
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = written(workplace)
    assert len(after) == 8 and {name: after[name] for name in done} == before
    assert [row["status"] for row in summary(workplace)] == ["done"] * 8
