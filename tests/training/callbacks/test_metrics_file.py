"""Every row as a line of JSON, on disk as soon as it is logged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matryoshka.training.callbacks.metrics_file import MetricsFile
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, UPDATES, fit, small_module


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_are_on_disk_at_once_and_kept(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "metrics.jsonl")
    first, second = {"step": 3, "train/loss": 0.5}, {"step": 0, "ndcg@10/dim_8": 0.25}

    log.log_metrics({"train/loss": 0.5}, step=3)
    assert lines(tmp_path / "metrics.jsonl") == [first]
    log.log_metrics({"ndcg@10/dim_8": 0.25})
    assert lines(tmp_path / "metrics.jsonl") == log.rows == [first, second]


def test_an_earlier_runs_rows_stay(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        MetricsFile(tmp_path / "metrics.jsonl").log_metrics({"loss": value}, step=1)

    assert [row["loss"] for row in lines(tmp_path / "metrics.jsonl")] == [1.0, 2.0]


def test_nothing_logged_makes_no_file(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path / "metrics.jsonl")
    log.log_hyperparams({"lr": 1.0})
    log.finalize("success")

    assert not (tmp_path / "metrics.jsonl").exists()
    assert (log.name, log.version) == ("metrics.jsonl", "")


@pytest.mark.filterwarnings(*LIGHTNINGS_ADVICE)
def test_a_run_logs_by_updates(tmp_path: Path) -> None:
    module, data = small_module(log_every=2)
    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, loggers=[log])

    assert lines(tmp_path / "metrics.jsonl") == log.rows
    assert [row["step"] for row in log.rows] == [2, 4, 6, 8]
    assert module.updates == UPDATES
    for row in log.rows:
        assert row["epoch"] == round(row["step"] * 2 / 7, 4)
        assert set(row) == {
            "step",
            "epoch",
            "train/loss",
            "train/loss/dim_32",
            "train/loss/dim_8",
            "train/learning_rate",
            "train/gradient_norm",
            "train/gradient_share/dim_32",
            "train/gradient_share/dim_8",
            "train/memory_gigabytes",
            "train/pairs_per_second",
            "train/tokens_per_second",
        }
