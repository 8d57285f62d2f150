"""A sweep's files say what its jobs say, and there is something to say of every sweep."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matryoshka.report.sweep.sweep_files import summary_csv, summary_parquet, write_sweep
from matryoshka.report.sweep.sweep_gallery import sweep_figures
from matryoshka.report.sweep.sweep_table import show_sweep
from matryoshka.report.terminal.lines import console
from matryoshka.sweep.result import JobResult, Sweep
from tests.report.sweep.sweeps import FEW, WIDE, job, sweep, whole_sweep, without_result
from tests.report.whole import LONG, NASTY


def named(**settings: Any) -> JobResult:
    """A done job with other settings."""
    return replace(job(), name=str(settings), settings=settings)


def bare(of: JobResult, **changes: Any) -> JobResult:
    """The job with another result."""
    assert of.tuned is not None
    return replace(of, tuned=replace(of.tuned, **changes))


KINDS: list[Any] = [None, [1], {"b": 2}, "c", 1.5, True]
HARD = f"a {NASTY}"
ODD: dict[str, Sweep] = {
    "nothing at all": Sweep("", (), "", ()),
    "one job": sweep(job(), keys=()),
    "none done": sweep(without_result(job(), "failed", NASTY), without_result(job(2e-5), "running")),
    "not finite": sweep(job(), replace(job(2e-5), value=math.nan), replace(job(1e-4), value=-math.inf)),
    "no value is finite": sweep(replace(job(), value=math.nan), replace(job(2e-5), value=None)),
    "pruned": sweep(job(), replace(without_result(job(2e-5), "pruned"), value=0.3)),
    "done without results": sweep(job(), replace(job(2e-5), tuned=None, base=None, value=None)),
    "no dim in common": sweep(job(dims=[768, 256]), job(2e-5, dims=[512, 64]), selected="ndcg@10/mean"),
    "one dim": sweep(job(dims=[64]), job(2e-5, dims=[64]), keys=("optimizer.lr",)),
    "other metrics, no intervals, no base": sweep(
        bare(replace(job(), base=None), intervals={}), bare(job(2e-5), intervals={}, metrics={64: {"mrr@10": 0.5}})
    ),
    "texts": sweep(*(named(**{HARD: f"{i} {LONG}", "$b_{": i}) for i in (1, 2)), keys=(HARD, "$b_{")),
    "several kinds": sweep(*(named(a=kind) for kind in KINDS), keys=("a",)),
    "the setting of one": sweep(job(), replace(job(2e-5), settings={})),
    "zero and below": sweep(*(named(lr=number) for number in (-1, 0, 3.0)), keys=("lr",)),
}


@pytest.mark.parametrize("which", ODD)
def test_no_sweep_is_too_odd(which: str, tmp_path: Path) -> None:
    with console.capture() as shown:
        written = write_sweep(tmp_path, ODD[which])
        show_sweep(ODD[which], written)

    assert all(path.is_file() for path in written.values())
    assert {"summary.csv", "summary.parquet", "index.html"} <= {path.name for path in written.values()}
    table = pq.read_table(tmp_path / "summary.parquet")
    assert table.num_rows == len(ODD[which].jobs) == len(list(csv.DictReader(summary_csv(ODD[which]).splitlines())))
    for name in sweep_figures(ODD[which]):
        assert (tmp_path / f"{name}.png").is_file() and (tmp_path / f"{name}.svg").is_file()
    assert "index.html" in shown.get().replace("\n", "")
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_rows_are_in_order_and_have_every_metric() -> None:
    whole = whole_sweep()
    rows = list(csv.DictReader(summary_csv(whole).splitlines()))

    head = ["job", "status", "selected", "dims", "optimizer.lr", "scheduler", "seconds", "error"]
    assert list(rows[0])[:8] == head
    assert list(rows[0])[8:] == [f"{m}@{k}/dim_{d}" for d in FEW for m, k in (("ndcg", 10), ("accuracy", 1))] + [
        f"{m}@{k}/dim_{d}" for d in (512, 128) for m, k in (("ndcg", 10), ("accuracy", 1))
    ]
    for row, found in zip(rows, whole.jobs, strict=True):
        assert (row["job"], row["status"], row["error"]) == (found.name, found.state, found.error)
        assert json.loads(row["dims"]) == found.settings["dims"]
        assert float(row["optimizer.lr"]) == found.settings["optimizer.lr"]
        assert (float(row["selected"]) if row["selected"] else None) == found.value
        flat = found.tuned.flat() if found.tuned else {}
        assert {name: float(row[name]) for name in list(row)[8:] if row[name]} == flat


def test_columns_of_parquet_have_their_types() -> None:
    whole = whole_sweep()
    table = pq.read_table(pa.BufferReader(summary_parquet(whole)))

    types = {name: table.schema.field(name).type for name in table.column_names}
    assert types["dims"] == pa.list_(pa.int64())
    assert types["optimizer.lr"] == types["selected"] == types["seconds"] == types["ndcg@10/dim_128"] == pa.float64()
    assert types["scheduler"] == types["job"] == types["error"] == pa.string()
    assert table["dims"].to_pylist() == [found.settings["dims"] for found in whole.jobs]
    assert table["selected"].to_pylist() == [found.value for found in whole.jobs]


def test_a_setting_of_several_kinds_is_json() -> None:
    values = pq.read_table(pa.BufferReader(summary_parquet(ODD["several kinds"])))["a"].to_pylist()
    assert [value if value is None else json.loads(value) for value in values] == KINDS


@pytest.mark.parametrize(
    ("which", "figures"),
    [
        ("nothing at all", set()),
        ("none done", set()),
        ("one job", {"metric_against_dim"}),
        ("the setting of one", {"metric_against_dim"}),
        ("one dim", {"lines"}),
        ("several kinds", {"metric_against_dim"}),
        ("zero and below", {"lines", "metric_against_dim"}),
    ],
)
def test_a_figure_that_would_show_nothing_is_left_out(which: str, figures: set[str]) -> None:
    assert set(sweep_figures(ODD[which])) == figures


def shown(of: Sweep) -> str:
    with console.capture() as capture:
        show_sweep(of, {})
    return capture.get()


def test_the_terminal_shows_jobs_best_first_and_why_others_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 80)
    whole = whole_sweep()
    lines = shown(whole).splitlines()

    rows = [line.split() for line in lines if line.lstrip().startswith("768-")]
    assert [row[3] for row in rows] == [f"{found.value:.4f}" for found in whole.done]
    best = whole.done[0]
    assert best.tuned is not None
    values = [f"{best.tuned.metrics[dim]['ndcg@10']:.3f}".removeprefix("0") for dim in (768, 64)]
    shown_values = f"768-256-64 5e-5 cosine 0.5363 {values[0]} ±.030 {values[1]} ±.030 2 min 43 s"
    assert " ".join(rows[0]) == shown_values
    (failed,) = [line for line in lines if line.startswith("  failed")]
    (killed,) = [line for line in lines if line.startswith(" stopped")]
    assert failed.endswith(
        "dims=768-512-256-128-64, optimizer.lr=5e-5, scheduler=cosine: out of memory: lower batch_size"
    )
    assert killed.endswith("scheduler=constant: killed before its end")
    assert lines[0] == "stand-in: embedded:e5_small for BAAI/bge-m3, because there is no CUDA GPU here"


def overlapping(half: float) -> str:
    jobs: list[JobResult] = [job(lr, dims=WIDE, half=half) for lr in (2e-5, 5e-5, 1e-4)]
    return shown(sweep(*jobs))


def test_the_terminal_says_which_jobs_cannot_be_told_apart() -> None:
    assert "1 of the other 2 jobs overlap with the best one: these figures do not tell them apart" in overlapping(0.02)
    assert "the best job stands apart from the other 2" in overlapping(0.0001)
    assert not [
        which for which in ("other metrics, no intervals, no base", "one job") if "   apart  " in shown(ODD[which])
    ]


def test_of_jobs_without_a_common_dim_each_shows_its_own() -> None:
    text = shown(ODD["no dim in common"])
    assert [f"({dim})" in text for dim in (768, 256, 512, 64)] == [True] * 4


@pytest.mark.parametrize(("setting", "wanted"), [(3, "a=3"), ("x", "a=x"), ([1, 2], "a=1-2")])
def test_one_job_alone_is_not_called_the_best(setting: Any, wanted: str) -> None:
    alone = sweep(replace(job(), settings={"a": setting}), keys=("a",))
    assert f"One job is done, so there is nothing to compare it with: {wanted} (0.5" in shown(alone).replace("\n", " ")


def test_no_text_of_the_csv_is_a_formula_in_a_spreadsheet() -> None:
    texts = ["=1+1", "+1", "-cmd", "@SUM(A1)", "\t=1", "a=1"]
    jobs = [replace(job(), settings={"a": text}) for text in texts]
    jobs.append(without_result(job(), "failed", "=HYPERLINK(x)"))
    rows = list(csv.DictReader(summary_csv(sweep(*jobs, keys=("a",))).splitlines()))

    assert sorted(row["a"] for row in rows if row["a"]) == sorted(
        ["'=1+1", "'+1", "'-cmd", "'@SUM(A1)", "'\t=1", "a=1"]
    )
    assert rows[-1]["error"] == "'=HYPERLINK(x)"
    assert all(float(row["selected"]) > 0 for row in rows[:-1])
