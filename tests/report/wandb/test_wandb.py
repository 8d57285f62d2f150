"""The W&B logger: offline as its own file says it, and without a network, or with one that goes away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image
from wandb.sdk.lib import wbauth

from matryoshka.report.record import TrainingRecord
from matryoshka.report.wandb.logger import RunLogger, has_account, wandb_logger
from tests.report.records import DIMS, further_sets, record
from tests.report.wandb.wandb_service import Service, serving
from tests.tasks.offline_run import OfflineRun, runs_below

pytestmark = pytest.mark.filterwarnings("default")  # wandb's and Lightning's own
CHOICES = ["dims 32-16", "lr 2e-05", "cosine"]
KEY = 40 * "a"


@pytest.fixture(autouse=True)
def _own_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No account or setting of whoever runs the tests, and a wandb that reads these anew."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb.teardown()
    yield
    wandb.teardown()
    wbauth.unauthenticate_session()  # else a key found before is found again


def logged(logger: RunLogger, folder: Path, whole: TrainingRecord) -> None:
    """What a training does with its logger."""
    logger.log_hyperparams({**whole.config, "name": whole.name, "stand_in": list(whole.stand_in), "logger": {"x": 1}})
    for row in whole.history:
        step = int(row["step"])
        logger.log_metrics({name: value for name, value in row.items() if name != "step"}, step)
    Image.new("RGB", (8, 8)).save(folder / "metric_against_dim.png")
    logger.finalize("success")  # as Lightning does after training
    logger.finish_record(whole, folder)


def offline(folder: Path, whole: TrainingRecord, **options: Any) -> OfflineRun:
    logged(wandb_logger(str(folder), mode="offline", **options), folder, whole)
    (run,) = runs_below(folder)
    return run


def test_a_sweeps_job_says_which_sweep_and_what_it_chose(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "matryoshka")
    run = offline(tmp_path, record(stand_in=("e5 is a stand-in",)), choices=CHOICES, group="bmf/rates")
    assert (run.project, run.group, run.job_type) == ("matryoshka", "bmf/rates", "sweep")
    assert run.name == "dims 32-16 · lr 2e-05 · cosine"
    assert sorted(run.tags) == sorted(["bmf", *CHOICES, "stand-in"])
    assert (run.config["optimizer.lr"], run.config["dims"]) == (2e-5, [32, 16, 8])
    assert not any(key.startswith("logger") for key in run.config)
    assert run.exit_code == 0
    assert "upload" not in caplog.text  # the sweep says it once

    rows = [row for row in run.rows if "train/loss" in row]
    assert [row["update"] for row in rows] == [10, 20, 30, 40]
    assert run.rows[0]["dim_32/ndcg@10"] == pytest.approx(0.032 + 1 / 7)


def test_further_sets_have_a_row_at_the_saved_update_and_a_place_in_the_summary(tmp_path: Path) -> None:
    sets = further_sets()
    run = offline(tmp_path, record(sets=sets))

    (row,) = [row for row in run.rows if "graded/dim_16/ndcg@10" in row]
    assert row["update"] == 19
    for name, of in sets.items():
        assert of.base is not None
        for dim in DIMS:
            value = of.tuned.metrics[dim]["ndcg@10"]
            assert row[f"{name}/dim_{dim}/ndcg@10"] == run.summary[f"{name}/dim_{dim}/ndcg@10"] == pytest.approx(value)
            before = run.summary[f"base/{name}/dim_{dim}/ndcg@10"]
            assert before == pytest.approx(of.base.metrics[dim]["ndcg@10"])
    assert any(name.startswith("further_sets/") for row in run.rows for name in row)


def test_what_the_user_says_wins_and_a_single_run_tells_how_to_upload_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "matryoshka")
    mine = {"name": "mine", "group": "rates", "job_type": "try", "tags": ["first"], "project": "letters"}
    run = offline(tmp_path, record(), **mine)
    assert (run.name, run.group, run.job_type, run.tags) == ("mine", "rates", "try", ["first"])
    assert run.project == "letters"
    assert f"upload it with: wandb sync {tmp_path}/wandb/offline-run-*" in caplog.text
    assert not run.artifacts


@pytest.mark.parametrize(("saved", "aliases"), [(19, {"best"}), (40, {"best", "last"})])
def test_the_model_goes_up_as_what_it_is(tmp_path: Path, saved: int, aliases: set[str]) -> None:
    (tmp_path / "model" / "1_Pooling").mkdir(parents=True)
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    run = offline(tmp_path, record(saved_step=saved), artifact=True)
    given, paths = run.artifacts[f"bmf-{run.id}"]
    assert set(given) - {"latest"} == aliases
    assert paths == ["1_Pooling/config.json", "model.safetensors"]


def test_a_run_that_fails_is_closed_as_failed_and_the_next_is_its_own(tmp_path: Path) -> None:
    first, second = (wandb_logger_in(tmp_path / name) for name in ("first", "second"))
    logger = first()
    logger.log_metrics({"train/loss": 1.0}, 1)
    logger.finalize("failed")
    logger.finalize("failed")  # by Lightning, and by the task
    logged(second(), tmp_path / "second", record())
    (failed,), (done,) = runs_below(tmp_path / "first"), runs_below(tmp_path / "second")
    assert (failed.exit_code, len(failed.rows)) == (1, 1)
    assert done.exit_code == 0
    assert failed.id != done.id


def test_a_trial_that_is_given_up_is_no_failure(tmp_path: Path) -> None:
    logger = wandb_logger_in(tmp_path / "trial")()
    logger.log_metrics({"train/loss": 1.0}, 1)
    logger.finalize("pruned")
    logger.finalize("failed")  # by Lightning, and by the task: an exception ends it
    (run,) = runs_below(tmp_path / "trial")
    assert (run.exit_code, run.summary["pruned"], len(run.rows)) == (0, True, 1)


def wandb_logger_in(folder: Path) -> Any:
    folder.mkdir()
    return lambda: wandb_logger(str(folder), mode="offline")


@pytest.mark.parametrize("silent", [False, True], ids=["refused", "no answer"])
def test_a_service_that_is_not_there_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, silent: bool
) -> None:
    with serving(Service(silent=True)) as service:
        monkeypatch.setenv("WANDB_BASE_URL", service.address if silent else "http://127.0.0.1:9")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        start = time.perf_counter()
        logger = wandb_logger(str(tmp_path), mode="auto", init_timeout=1)
        assert logger.experiment.offline
        logged(logger, tmp_path, record())
        wandb.teardown()  # as at the end of the process
        assert time.perf_counter() - start < 40
    assert "W&B cannot be reached" in caplog.text and "going on offline" in caplog.text
    (run,) = runs_below(tmp_path)
    assert run.summary["saved_update"] == 19


class Losing(Service):
    """Takes runs, until it falls silent."""

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" not in query:
            return super().answer(query, variables)
        project = {"name": variables["project"], "entity": {"name": "letters-team"}}
        bucket = {"id": "b", "name": variables["name"], "historyLineCount": 0, "project": project}
        return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}


@pytest.mark.slow
def test_a_service_that_goes_away_is_not_waited_for_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Losing()) as service:
        monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")  # seconds for each answer, of which wandb has 20 by default
        monkeypatch.setattr(wandb.Api, "_HTTP_TIMEOUT", 2)  # the same, read when wandb is imported
        monkeypatch.setenv("WANDB_BASE_URL", service.address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        logger = wandb_logger(str(tmp_path), mode="auto", init_timeout=10, finish_timeout=1)
        assert not logger.experiment.offline
        service.silent = True
        start = time.perf_counter()
        logged(logger, tmp_path, record())
        wandb.teardown()
        assert time.perf_counter() - start < 60
    assert "not everything was uploaded in time" in caplog.text


@pytest.mark.parametrize(
    ("environment", "netrc", "expected"),
    [
        ({}, "", False),
        ({"WANDB_API_KEY": KEY}, "", True),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "", False),
        ({"WANDB_MODE": "online"}, "", True),
        ({}, "machine api.wandb.ai login user password " + KEY, True),
        ({}, "machine api.forge.coreweave.com login user password " + KEY, True),
        ({}, "machine api.forge.coreweave.com login user password x", False),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, "machine api.wandb.ai login user password " + KEY, False),
        ({"WANDB_BASE_URL": "https://wandb.example.org"}, "machine wandb.example.org login u password " + KEY, True),
    ],
)
def test_an_account_is_one_of_the_service_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], netrc: str, expected: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text(netrc)
    (tmp_path / "netrc").chmod(0o600)
    assert has_account() is expected
