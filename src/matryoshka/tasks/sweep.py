"""What a multirun adds up to: one row a job, best first."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.table import Table

from matryoshka.atomic import write_atomically
from matryoshka.report.terminal import console, show_paths
from matryoshka.retrieval.result import EvaluationResult


class SweepSummary(Callback):
    """At the end of a multirun: summary.csv in its folder and the same rows on the terminal.

    failed: the jobs without a result, for the exit code.
    """

    failed: ClassVar[list[str]] = []

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Collect results.json of every job; a job without one is listed as failed."""
        folder = Path(config.hydra.sweep.dir)
        jobs = [job for job in sorted(folder.iterdir()) if (job / ".hydra" / "overrides.yaml").is_file()]
        rows = [_row(job, config.get("task")) for job in jobs]
        if not rows:
            return
        rows.sort(key=lambda row: -row["selected"] if row["selected"] != "" else float("inf"))
        self.failed[:] = [row["job"] for row in rows if row["status"] == "failed"]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        path = write_atomically(folder / "summary.csv", text.getvalue())
        _show(rows, path)


def _row(job: Path, task: str) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job.name, "status": "failed", "selected": ""}
    if task == "doctor":  # it only looks at the data
        return row | {"status": "done" if (job / "doctor.json").is_file() else "failed"}
    if not (job / "run.json").is_file():  # written after the results
        return row
    result = EvaluationResult.from_dict(json.loads((job / "results.json").read_text(encoding="utf-8")))
    run = json.loads((job / "run.json").read_text(encoding="utf-8"))
    return row | {"status": "done", "selected": run["selected_value"]} | result.flat()


def _show(rows: list[dict[str, Any]], path: Path) -> None:
    table = Table(title="sweep, best first", title_justify="left", title_style="bold", pad_edge=False)
    for column in ("job", "status", "selected"):
        table.add_column(column, justify="right" if column == "selected" else "left")
    shared = set.intersection(*(set(row["job"].split(",")) for row in rows)) if len(rows) > 1 else set()
    for row in rows:
        value = row["selected"]
        varied = ", ".join(part for part in row["job"].split(",") if part not in shared)
        table.add_row(varied, row["status"], f"{value:.4f}" if value != "" else "")
    console.print(table)
    show_paths({"summary": path})
