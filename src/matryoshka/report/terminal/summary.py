"""The end of a run in the terminal: what came of it, what to deploy, where it fails, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matryoshka.report.page.report import Report
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.deployment import show_deployment
from matryoshka.report.terminal.failures import show_failures
from matryoshka.report.terminal.result_table import show_protocols, show_result, show_sets


def show_training(record: TrainingRecord, written: Mapping[str, Path]) -> None:
    """Base and tuned side by side, with the baselines; copies, further sets, vectors, failures; and every path."""
    lines.show_stand_in(record.stand_in)
    saved = f"update {record.saved_step} of {record.updates}, best {record.selected}"
    show_result(record.tuned, record.base, f"base -> tuned ({saved}, evaluated again)", record.baselines)
    lines.say("split", record.split)
    for trouble in record.troubles:
        lines.say("training", trouble)
    show_protocols(record.tuned)
    show_sets(record.sets)
    if record.deployment:
        show_deployment(record.deployment)
    if record.failures:
        show_failures(record.failures)
    lines.show_duration(record.seconds)
    lines.show_paths(written)


def show_evaluation(report: Report, written: Mapping[str, Path]) -> None:
    """A model's table with the baselines; copies, further sets, vectors, failures; and every path."""
    result = report.tuned
    counts = f"{result.queries:,} queries over {result.documents:,} documents"
    title = f"{result.model} on {result.data}: {counts}, {result.precision}"
    show_result(result, None, title, report.baselines)
    show_protocols(result)
    show_sets(report.sets)
    if report.deployment:
        show_deployment(report.deployment)
    if report.failures:
        show_failures(report.failures)
    lines.show_paths(written)
