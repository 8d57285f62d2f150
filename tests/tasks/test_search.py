"""Searches of a tiny encoder: as many trials as wanted, gone on with after a kill, given up where they are behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.sweep.search import JOURNAL
from matryoshka.sweep.trial import journal_storage
from tests.tasks.offline_run import runs_below
from tests.tasks.test_sweep import statuses, summary, written
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries

SEARCH = ["-m", "sweep=optuna", "hydra.sweep.dir=sweep", "evaluator=quick"]
RATES = ["optimizer.lr=tag(log,interval(1e-4,1e-2))", "scheduler=cosine", "loss.scale=20"]


def study(workplace: Path) -> optuna.Study:
    storage = journal_storage(workplace / "sweep" / JOURNAL)
    return optuna.load_study(study_name="sweep", storage=storage)


@pytest.mark.slow
def test_a_search_runs_what_is_missing_and_never_the_same_twice(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SEARCH, "optimizer.lr=1e-3,1e-2", "scheduler=linear", "loss.scale=20"]
    assert run(monkeypatch, *words, "hydra.sweeper.trials=2") == 0
    shown = capsys.readouterr().out
    assert "2 trials, 1 at a time" in shown
    assert "optimizer.lr: 0.001 | 0.01" in shown
    assert "no trial is given up early: that happens after an epoch, and there is one" in shown
    before = written(workplace)

    assert run(monkeypatch, *words, "hydra.sweeper.trials=4") == 0
    assert "4 trials, 2 of them done before" in capsys.readouterr().out
    after = written(workplace)
    assert {name: after[name] for name in before} == before
    assert len(after) == len({name.partition(",")[2] for name in after}) <= 2  # there are only two
    told = study(workplace).trials
    assert [trial.state.name for trial in told] == ["COMPLETE"] * 4
    by_job = {name.partition(",")[0]: status["objective"] for name, status in statuses(workplace).items()}
    assert {f"trial_{trial.number:03d}": trial.value for trial in told if "job" in trial.user_attrs} == by_job
    assert [row["status"] for row in summary(workplace)] == ["done"] * len(after)

    assert run(monkeypatch, *words, "hydra.sweeper.trials=4", "batch_size=6") == 2
    assert "the trials in it are of another configuration" in capsys.readouterr().err
    assert written(workplace) == after
    more = [*SEARCH, "optimizer.lr=1e-3,1e-2", "scheduler=cosine,linear", "loss.scale=20"]  # a value becomes a choice
    assert run(monkeypatch, *more, "hydra.sweeper.trials=4") == 0


@pytest.mark.slow
def test_a_trial_behind_the_others_ends_after_its_first_epoch(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SEARCH, *RATES, "hydra.sweeper.trials=4", "hydra.sweeper.startup_trials=6", "trainer.max_epochs=2"]
    words += ["logger=wandb", "logger.mode=offline"]
    (workplace / "sweep").mkdir()
    storage = journal_storage(workplace / "sweep" / JOURNAL)
    before = optuna.create_study(storage=storage, study_name="sweep", direction="maximize")
    for _ in range(3):
        trial = before.ask()
        trial.report(2.0, 1)  # no model is as good
        before.tell(trial, 2.0)

    assert run(monkeypatch, *words) == 0
    shown = capsys.readouterr().out
    assert "goes on only among the best 50% of the finished ones, once there are 3" in shown
    (name,) = statuses(workplace)
    status, told = statuses(workplace)[name], study(workplace).trials[3]
    assert status["state"] == "pruned"
    assert told.state.name == "PRUNED"
    assert told.intermediate_values == {1: told.value} and told.value == status["objective"]
    assert [(row["job"], row["status"]) for row in summary(workplace)] == [(name, "pruned")]
    assert not (workplace / "sweep" / name / "checkpoints").exists()
    assert not written(workplace)
    (kept,) = runs_below(workplace / "sweep" / name)
    assert (kept.exit_code, kept.summary["pruned"]) == (0, True)


@pytest.mark.slow
def test_quality_is_weighed_against_bytes(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *SEARCH,
        "optimizer.lr=1e-3",
        "loss.scale=20",
        "scheduler=cosine",
        "hydra.sweeper.objectives=[quality,bytes]",
    ]
    assert run(monkeypatch, *words, "dims=[32,16],[8]", "hydra.sweeper.trials=2", "evaluator.select=ndcg@10/mean") == 2
    assert "bytes are those of one dim" in capsys.readouterr().err
    assert run(monkeypatch, *words, "dims=[32,16],[8]", "hydra.sweeper.trials=2", "seed=8") == 0
    assert "no trial is given up early: optuna has no rule for several objectives" in capsys.readouterr().out
    with (workplace / "sweep/pareto.csv").open(encoding="utf-8") as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert rows
    for name, row in rows.items():
        assert int(row["bytes"]) == (32 if "dims=8" in name else 128)
        assert float(row["quality"]) == statuses(workplace)[name]["objective"]
    assert (workplace / "sweep/pareto.png").is_file()
    assert 'href="pareto.csv"' in (workplace / "sweep/index.html").read_text(encoding="utf-8")


def test_mistakes_are_found_before_the_first_trial(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *SEARCH, *RATES, "hydra.sweeper.trials=0", "hydra.sweeper.objectives=[speed]") == 2
    shown = capsys.readouterr().err
    assert (
        "hydra.sweeper.trials: a whole number of at least 1" in shown and "hydra.sweeper.objectives: [quality]" in shown
    )
    assert run(monkeypatch, *SEARCH, "optimizer.lr=1e-3", "scheduler=cosine", "loss.scale=20") == 2
    assert "hydra.sweeper.params: nothing to search in" in capsys.readouterr().err
    assert run(monkeypatch, *SEARCH, "dims=[32,16],[64]", "batch_size=int(interval(1,4))") == 2
    shown = capsys.readouterr().err
    assert "dims[0]: 64 is wider" in shown and "batch_size: with 1 pair" in shown
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "optuna", None)
        assert run(without, *SEARCH, *RATES) == 2
    assert "pip install 'matryoshka[sweeps]'" in capsys.readouterr().err
    assert not (workplace / "sweep").exists()


@pytest.mark.slow
def test_a_failed_trial_is_named_and_tried_again_by_the_next_command(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SEARCH, *RATES, "hydra.sweeper.trials=1"]
    with monkeypatch.context() as broken:

        def failing(*_: object, **__: object) -> None:
            raise RuntimeError("the disk is on fire")

        broken.setattr(Evaluator, "evaluate", failing)
        assert run(broken, *words) == 1
    assert "1 job failed, each with its reason in its own log: trial_000," in capsys.readouterr().err
    (failed,) = statuses(workplace)
    assert run(monkeypatch, *words) == 0
    assert "1 that did not end are tried again" in capsys.readouterr().out
    (done,) = statuses(workplace)
    assert (failed.partition(",")[0], done.partition(",")[0]) == ("trial_000", "trial_001")
    assert failed.partition(",")[2] == done.partition(",")[2]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=cores", "hydra.launcher.n_jobs=2"]])
def test_a_killed_search_is_gone_on_with_by_the_same_command(workplace: Path, launcher: list[str]) -> None:
    script = Path(__file__).parents[2] / "train.py"
    data = ["data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl"]
    model = ["encoder=pretrained", "encoder.model=tiny", "pooling=saved", "dims=[32,16]", "batch_size=4"]
    epochs = ["trainer.max_epochs=2", "hydra.sweeper.startup_trials=4", "trainer.precision=32-true"]
    words = [sys.executable, str(script), *SEARCH, *data, *model, *epochs, *launcher, "hydra.sweeper.trials=6"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    states: list[str] = []
    while states.count("done") < 2 or "running" not in states:
        assert process.poll() is None
        time.sleep(0.01)
        states = [status["state"] for status in statuses(workplace).values()]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workplace / "sweep/summary.csv").exists()
    left = statuses(workplace)
    ended = {name: status for name, status in left.items() if status["state"] in ("done", "pruned")}
    cut_short = {name for name, status in left.items() if status["state"] == "running"}
    assert len(ended) >= 2 and cut_short and len(left) < 6

    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    after = statuses(workplace)
    assert f"6 trials, {len(ended)} of them done before" in said
    assert {name: after[name] for name in ended} == ended  # not run again
    assert not cut_short & set(after)
    assert {name.partition(",")[2] for name in cut_short} <= {name.partition(",")[2] for name in after}
    assert len(after) == 6 and {status["state"] for status in after.values()} <= {"done", "pruned"}
    assert len(summary(workplace)) == 6
    told = [trial.state.name for trial in study(workplace).trials]
    assert told.count("COMPLETE") + told.count("PRUNED") == 6
    assert told.count("FAIL") >= len(cut_short) and "RUNNING" not in told
