"""Which jobs are left to run, and what may not happen at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matryoshka.errors import UserError
from matryoshka.sweep import jobs
from matryoshka.sweep.jobs import Job, config_hash, left_to_run, running, the_only_sweep
from matryoshka.sweep.status import State, Status


def config(data: Path, **changes: object) -> dict[str, object]:
    plain = {"data": {"train": str(data)}, "encoder": {"model": "somewhere/else"}, "dims": [4, 2], "logger": None}
    return {**plain, **changes}


def ended(folder: Path, state: State, config_hash: str) -> None:
    folder.mkdir()
    (folder / "results.json").write_text(f"results of {config_hash}")
    Status(state, config_hash).write(folder)


def test_a_hash_changes_with_every_value_that_changes_the_result(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text("one")
    before = config_hash(config(data))
    assert config_hash(config(data, logger={"mode": "online"}, export={"format": "onnx"})) == before
    assert config_hash(config(data, dims=[4, 3])) != before
    data.write_text("two")
    assert config_hash(config(data)) != before


def test_a_hash_changes_with_what_negatives_are_made_of(tmp_path: Path) -> None:
    scores = tmp_path / "similarity.npz"
    scores.write_text("one")
    asked = config(tmp_path / "none", negatives={"path": str(scores)})
    before = config_hash(asked)
    scores.write_text("two")
    assert config_hash(asked) != before


def test_a_hash_changes_with_what_is_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("1")
    asked = config(tmp_path / "none", encoder={"model": str(tmp_path / "model")})
    before = config_hash(asked)
    assert config_hash(asked) == before
    (tmp_path / "model/weights").write_text("12")
    assert config_hash(asked) != before


def test_a_job_is_left_to_run_unless_its_folder_has_the_result_of_an_equal_configuration(tmp_path: Path) -> None:
    ended(tmp_path / "done", "done", "a")
    ended(tmp_path / "pruned", "pruned", "b")
    ended(tmp_path / "failed", "failed", "c")
    ended(tmp_path / "killed", "running", "d")
    planned = [
        Job(name, (), letter) for name, letter in zip(("done", "pruned", "failed", "killed"), "abcd", strict=True)
    ]
    new = Job("new", (), "e")
    assert [job.name for job in left_to_run(tmp_path, [*planned, new])] == ["failed", "killed", "new"]
    assert (tmp_path / "done/results.json").is_file()
    assert not (tmp_path / "failed").exists() and not (tmp_path / "killed").exists()


def test_a_result_of_another_configuration_is_set_aside_and_comes_back_with_it(tmp_path: Path) -> None:
    ended(tmp_path / "job", "done", "first")
    changed, unchanged = Job("job", (), "second"), Job("job", (), "first")
    assert left_to_run(tmp_path, [changed]) == [changed]
    assert not (tmp_path / "job").exists()
    ended(tmp_path / "job", "done", "second")
    assert left_to_run(tmp_path, [unchanged]) == []
    assert (tmp_path / "job/results.json").read_text() == "results of first"
    assert left_to_run(tmp_path, [changed]) == []
    assert (tmp_path / "job/results.json").read_text() == "results of second"


def test_a_job_whose_results_are_gone_runs_again(tmp_path: Path) -> None:
    ended(tmp_path / "job", "done", "a")
    (tmp_path / "job/results.json").unlink()
    assert left_to_run(tmp_path, [Job("job", (), "a")]) == [Job("job", (), "a")]


def test_what_only_looks_runs_again(tmp_path: Path) -> None:
    ended(tmp_path / "job", "done", "a")
    assert left_to_run(tmp_path, [Job("job", (), "a")], again=True) == [Job("job", (), "a")]


def test_a_running_job_is_not_taken_away(tmp_path: Path) -> None:
    ended(tmp_path / "job", "running", "a")
    with running(tmp_path / "job"), pytest.raises(UserError, match="still running"):
        left_to_run(tmp_path, [Job("job", (), "a")])
    assert (tmp_path / "job/results.json").is_file()
    assert left_to_run(tmp_path, [Job("job", (), "a")])


def test_two_sweeps_in_one_folder_are_refused(tmp_path: Path) -> None:
    with the_only_sweep(tmp_path), pytest.raises(UserError, match="another sweep is running"), the_only_sweep(tmp_path):
        pass
    with the_only_sweep(tmp_path):
        assert (tmp_path / jobs.LOCK).exists()


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"file: cannot be written .*hydra\.sweep\.dir="),
        the_only_sweep(tmp_path / "file"),
    ):
        pass


def test_a_status_of_a_later_version_is_read_for_what_is_known(tmp_path: Path) -> None:
    ended(tmp_path / "job", "done", "a")
    plain = json.loads((tmp_path / "job/status.json").read_text())
    (tmp_path / "job/status.json").write_text(json.dumps({**plain, "new": 1}))
    assert left_to_run(tmp_path, [Job("job", (), "a")]) == []
    assert left_to_run(tmp_path, [Job("job", (), "b")]) and list((tmp_path / "superseded").iterdir())
