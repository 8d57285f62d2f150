"""Everything a sweep leaves behind besides its jobs: rows, figures, the best job's experiment, and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from matryoshka.report.figures.metric_figure import save_figure
from matryoshka.report.sweep.sweep_experiment import NAME, best_experiment
from matryoshka.report.sweep.sweep_gallery import sweep_figures
from matryoshka.report.sweep.sweep_page import html_sweep
from matryoshka.storage.atomic import write_atomically
from matryoshka.sweep.result import JobResult, Sweep

FIRST, LAST = ("job", "status", "selected"), ("seconds", "error")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell begins with that is computed
TYPES = {"job": pa.string(), "status": pa.string(), "selected": pa.float64(), "seconds": pa.float64()}
TYPES["error"] = pa.string()


def write_sweep(folder: Path, sweep: Sweep) -> dict[str, Path]:
    """Write it all, by what it is; figures and the experiment only where the jobs have something for them."""
    written = {
        "summary": write_atomically(folder / "summary.csv", summary_csv(sweep)),
        "typed summary": write_atomically(folder / "summary.parquet", summary_parquet(sweep)),
    }
    for name, (draw, _) in sweep_figures(sweep).items():
        written[name.replace("_", " ")] = save_figure(draw(), folder / name)[0]
    if experiment := best_experiment(sweep):
        written["best experiment"] = write_atomically(folder / "experiment" / f"{NAME}.yaml", experiment)
    return written | {"page": write_atomically(folder / "index.html", html_sweep(sweep, folder))}


def summary_rows(sweep: Sweep) -> list[dict[str, Any]]:
    """A row a job, best first, each with the same columns; None where a job has nothing."""
    metrics = list(dict.fromkeys(name for job in sweep.done for name in job.flat()))
    return [_row(job, sweep.keys, metrics) for job in sweep.jobs]


def _row(job: JobResult, keys: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job.name, "status": job.state, "selected": job.value}
    row |= {key: job.settings.get(key) for key in keys}
    row |= {"seconds": job.seconds, "error": job.error}
    flat = job.flat()
    return row | {name: flat.get(name) for name in metrics}


def summary_csv(sweep: Sweep) -> str:
    """The rows as CSV; lists as JSON, and an apostrophe before a text that a spreadsheet would take for a formula."""
    text = io.StringIO()
    rows = summary_rows(sweep)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else (*FIRST, *sweep.keys, *LAST))
    writer.writerows([_plain(value) for value in row.values()] for row in rows)
    return text.getvalue()


def summary_parquet(sweep: Sweep) -> bytes:
    """The rows as Parquet: numbers as numbers, lists as lists, a key with values of several kinds as JSON."""
    rows = summary_rows(sweep)
    names = list(rows[0]) if rows else [*FIRST, *sweep.keys, *LAST]
    columns = {name: [row[name] for row in rows] for name in names}
    arrays = [_array(values, TYPES.get(name), name in sweep.keys) for name, values in columns.items()]
    content = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, names=names), content)
    return bytes(content.getvalue())


def _array(values: list[Any], wanted: pa.DataType | None, setting: bool) -> pa.Array:
    if wanted is not None:
        return pa.array(values, wanted)
    if not setting:
        return pa.array(values, pa.float64())
    try:
        found = pa.array(values)
    except pa.ArrowException:  # of several kinds
        found = None
    if found is None or pa.types.is_null(found.type) or pa.types.is_struct(found.type):
        return pa.array([None if value is None else json.dumps(value, default=str) for value in values], pa.string())
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return json.dumps(value, default=str) if isinstance(value, list | tuple | dict | bool) else value
