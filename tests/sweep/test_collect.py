"""A sweep's folder read back, and how far it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import yaml

from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.sweep.collect import ABSENT, collect
from matryoshka.sweep.status import Status, mean_seconds, progress, write_plan

RESULT = EvaluationResult("tiny", "pairs", 3, 4, 2, {2: {"ndcg@10": 0.5}})


def job(folder: Path, name: str, status: Status, value: float = 0.5, **config: object) -> None:
    status.write(folder / name)
    (folder / name / ".hydra").mkdir()
    words = [f"{key}={value}" for key, value in status.settings.items()]
    (folder / name / ".hydra/overrides.yaml").write_text(yaml.safe_dump(words))
    (folder / name / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    choices = {"hydra": {"runtime": {"choices": {"scheduler": "cosine"}}}}
    (folder / name / ".hydra/hydra.yaml").write_text(yaml.safe_dump(choices))
    if status.state == "done":
        tuned = replace(RESULT, metrics={2: {"ndcg@10": value}})
        (folder / name / "results.json").write_text(json.dumps(tuned.as_dict()))
        (folder / name / "base.json").write_text(json.dumps(RESULT.as_dict()))
        run = {"selected": "ndcg@10/dim_2", "split": "chosen on dev", "stand_in": ["small for large"]}
        (folder / name / "run.json").write_text(json.dumps(run))


def test_jobs_come_best_first_with_what_differs_between_them(tmp_path: Path) -> None:
    job(tmp_path, "a", Status("done", "1", {"optimizer.lr": 1e-5, "seed": 1}, 0.3, 2.0), 0.31, optimizer={"lr": 1e-5})
    job(tmp_path, "b", Status("done", "2", {"optimizer.lr": 2e-5, "seed": 1}, 0.4, 4.0), 0.41, optimizer={"lr": 2e-5})
    job(tmp_path, "c", Status("failed", "3", {"optimizer.lr": 3e-5, "seed": 1}, error="no memory"))
    job(tmp_path, "d", Status("running", "4", {"optimizer.lr": 4e-5, "seed": 1}))
    job(tmp_path, "e", Status("pruned", "5", {"optimizer.lr": 5e-5, "seed": 1}, 0.25))
    sweep = collect(tmp_path, "bmf/lr")
    assert [result.name for result in sweep.jobs] == ["b", "a", "c", "d", "e"]
    assert (sweep.jobs[-1].value, sweep.jobs[-1].error) == (None, "given up early at 0.2500, behind the others")
    assert sweep.keys == ("optimizer.lr",)
    assert sweep.best is not None and sweep.best.settings == {"optimizer.lr": 2e-5}
    assert sweep.best.value == 0.4 and sweep.best.tuned is not None
    assert sweep.best.tuned.value("ndcg@10/dim_2") == 0.41
    assert sweep.best.overrides == ("optimizer.lr=2e-05", "seed=1")
    assert [(result.name, result.error) for result in sweep.failed] == [
        ("c", "no memory"),
        ("d", "stopped before its end"),
    ]
    assert (sweep.selected, sweep.split, sweep.stand_in) == ("ndcg@10/dim_2", "chosen on dev", ("small for large",))


def test_further_sets_are_read_by_their_names_and_their_figures_stand_beside_the_test_sets(tmp_path: Path) -> None:
    further = {
        "a b/c": SetResults(RESULT, replace(RESULT, metrics={2: {"ndcg@10": 0.7}})),
        "x": SetResults(None, RESULT),
    }
    job(tmp_path, "a", Status("done", "1", {"seed": 1}, 0.3, 2.0), 0.31)
    job(tmp_path, "b", Status("done", "2", {"seed": 2}, 0.2, 2.0), 0.21)
    (tmp_path / "a" / "sets").mkdir()
    for name, results in further.items():
        path = tmp_path / "a" / "sets" / f"{quote(name, safe=' ')}.json"
        path.write_text(json.dumps(results.as_dict()), encoding="utf-8")
    (tmp_path / "a" / "sets" / "broken.json").write_text("{")

    with_sets, without = collect(tmp_path, "sets").jobs
    assert with_sets.sets == further and without.sets == {}
    assert with_sets.flat() == {"ndcg@10/dim_2": 0.31, "a b/c/ndcg@10/dim_2": 0.7, "x/ndcg@10/dim_2": 0.5}
    assert without.flat() == {"ndcg@10/dim_2": 0.21}


def test_a_setting_that_only_another_job_has_is_read_from_the_configuration(tmp_path: Path) -> None:
    job(tmp_path, "a", Status("done", "1", {"scheduler": "linear", "trainer.max_epochs": 2}, 0.3))
    job(tmp_path, "b", Status("done", "2", {}, 0.4), trainer={"max_epochs": 1})
    job(tmp_path, "c", Status("done", "3", {"new.key": True}, 0.2), trainer={"max_epochs": 1})
    settings = {result.name: result.settings for result in collect(tmp_path, "x").jobs}
    assert settings["b"] == {"scheduler": "cosine", "trainer.max_epochs": 1, "new.key": ABSENT}


def test_an_empty_folder_and_broken_files_are_no_jobs(tmp_path: Path) -> None:
    assert collect(tmp_path, "x").jobs == ()
    (tmp_path / "job").mkdir()
    (tmp_path / "job/status.json").write_text('{"state": "do')
    assert collect(tmp_path, "x").jobs == ()


def test_jobs_set_aside_do_not_count(tmp_path: Path) -> None:
    Status("done", "1").write(tmp_path / "superseded/job-1")
    assert collect(tmp_path, "x").jobs == ()


def test_progress_counts_what_ended(tmp_path: Path) -> None:
    assert progress(tmp_path) == ""
    write_plan(tmp_path, ["a", "b", "c", "d"])
    assert progress(tmp_path) == "0 of 4 jobs done"
    Status("done", "1").write(tmp_path / "a")
    Status("failed", "2").write(tmp_path / "b")
    Status("running", "3").write(tmp_path / "c")
    assert progress(tmp_path).startswith("1 of 4 jobs done, 1 failed; about ")
    for name in "cd":
        Status("done", "3").write(tmp_path / name)
    assert progress(tmp_path) == "3 of 4 jobs done, 1 failed"


def test_the_mean_time_is_that_of_finished_jobs() -> None:
    assert mean_seconds([]) is None
    statuses = [Status("done", "1", seconds=2.0), Status("failed", "2", seconds=50.0), Status("done", "3", seconds=4.0)]
    assert mean_seconds(statuses) == 3.0
