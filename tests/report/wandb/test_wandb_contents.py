"""What a run shows in W&B, against results.json and the configuration."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from matryoshka.report.files import write_result
from matryoshka.report.wandb.contents import flat_config, summary_of, tables_of, tags_of
from matryoshka.report.wandb.names import name_of, sync_command
from tests.report.records import METRICS, record, result
from tests.report.whole import whole_record


@pytest.mark.parametrize(
    ("logged", "name"),
    [
        ("ndcg@10/dim_256", "dim_256/ndcg@10"),
        ("dev/ndcg@10/dim_256", "dev/dim_256/ndcg@10"),
        ("merged/ndcg@10/dim_64", "merged/dim_64/ndcg@10"),
        ("dev/merged/ndcg@10/dim_64", "dev/merged/dim_64/ndcg@10"),
        ("train/loss/dim_64", "loss/dim_64"),
        ("train/gradient_share/dim_64", "gradient_share/dim_64"),
        ("train/loss", "train/loss"),
        ("nfcorpus/ndcg@10/dim_64", "nfcorpus/dim_64/ndcg@10"),
        ("base/nfcorpus/merged/ndcg@10/dim_64", "base/nfcorpus/merged/dim_64/ndcg@10"),
        ("epoch", "epoch"),
    ],
)
def test_a_name_begins_with_its_panel(logged: str, name: str) -> None:
    assert name_of(logged) == name


def test_the_configuration_is_flat_and_has_no_secrets() -> None:
    config = {
        "optimizer": {"lr": 2e-5, "betas": [0.9, 0.999]},
        "encoder": {"model": "e5", "prompts": {"query": "query: "}, "hub_token": "hf_x"},
        "evaluator": {"token_budget": 4096},
        "data": {"api_key": "x", "password": "x", "MY_SECRET": "x", "id": None, "keys": "k", "id_key": "nr"},
        "reference": {},
        "token": "x",
    }
    assert flat_config(config) == {
        "optimizer.lr": 2e-5,
        "optimizer.betas": [0.9, 0.999],
        "encoder.model": "e5",
        "encoder.prompts.query": "query: ",
        "evaluator.token_budget": 4096,
        "data.id": None,
        "data.keys": "k",
        "data.id_key": "nr",
    }


def test_tags_say_what_the_run_is_and_that_it_stands_for_another() -> None:
    config = {"name": "bmf", "encoder": {"model": "x" * 99}, "stand_in": ["e5 is a stand-in"]}
    assert tags_of(config, ["lr 2e-05", "cosine"]) == ["bmf", "x" * 64, "lr 2e-05", "cosine", "stand-in"]
    assert tags_of({"name": "bmf", "encoder": {}, "stand_in": []}, []) == ["bmf"]


def test_the_summary_has_every_number_of_the_results_and_the_dev_metrics_of_the_saved_update(tmp_path: Path) -> None:
    rows = [{"step": step, **{f"dev/{n}": v for n, v in result(step / 100).flat().items()}} for step in (19, 38, 40)]
    whole = replace(whole_record(), history=tuple(rows), selected_value=0.25)  # saved_step: 19
    summary = summary_of(whole)
    plain = json.loads(write_result(tmp_path, whole.tuned).read_text())

    assert json.loads(json.dumps(summary["results_json"])) == plain
    for part, source in (("", plain["metrics"]), ("merged/", plain["merged"])):
        for dim, values in source.items():
            assert {name: summary[f"{part}dim_{dim}/{name}"] for name in values} == values
    for dim, values in result(0.19).metrics.items():
        assert {name: summary[f"dev/dim_{dim}/{name}"] for name in values} == values
        assert summary[f"base/dim_{dim}/ndcg@10"] == whole.base.metrics[dim]["ndcg@10"]
    assert (summary["selected_value"], summary["saved_update"]) == (0.25, 19)
    assert summary["stand_in"] == whole.stand_in[0]
    assert {"stand_in", "split", "selected_value"}.isdisjoint(summary_of(record()))


def test_every_table_has_as_many_columns_as_each_of_its_rows() -> None:
    tables = {name: (list(columns), rows) for name, columns, rows in tables_of(whole_record())}
    assert list(tables) == ["results", "hardest_queries", "lost_queries", "deployment"]
    assert all(len(row) == len(columns) for columns, rows in tables.values() for row in rows)
    columns, rows = tables["results"]
    assert columns == ["dim", "model", *METRICS]
    assert [0, "BM25", None, 0.271, None] in rows  # a baseline of which less was measured
    assert [table[0] for table in tables_of(record())] == ["results"]


def test_one_command_uploads_a_run_or_a_whole_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "multirun" / "my sweep"
    for job in ("lr=1,dims=32-16", "lr=2,dims=32-16"):
        (sweep / job / "wandb" / "offline-run-x").mkdir(parents=True)
    (sweep / "lr=3" / "wandb" / "run-y").mkdir(parents=True)  # was online

    listed = subprocess.check_output(["bash", "-c", sync_command(sweep).replace("wandb sync", "ls -d", 1)], text=True)
    assert listed.splitlines() == [str(path) for path in sorted(sweep.glob("*/wandb/offline-run-x"))]
    alone = sync_command(sweep / "lr=1,dims=32-16")
    assert shlex.split(alone) == ["wandb", "sync", f"{sweep}/lr=1,dims=32-16/wandb/offline-run-*"]
    assert sync_command(sweep / "lr=3") == ""
