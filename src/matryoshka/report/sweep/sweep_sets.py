"""What the jobs of a sweep are worth on the further evaluation sets: one figure a set, the mean over a job's dims."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from matryoshka.evaluation.result import display_name
from matryoshka.report.sweep.sweep_verdict import reported_metric, settings_words
from matryoshka.sweep.result import JobResult, Sweep


def further_sets(sweep: Sweep) -> tuple[str, ...]:
    """The names of the sets that any done job was measured on."""
    return tuple(dict.fromkeys(name for job in sweep.done for name in job.sets))


def set_means(sweep: Sweep, job: JobResult) -> tuple[float | None, ...]:
    """A job's value of `reported_metric` on each of them, the mean over its dims; None for what was not measured."""
    return tuple(_mean(job, name, reported_metric(sweep)) for name in further_sets(sweep))


def sets_table(sweep: Sweep) -> Table:
    """A row a done job, in the order of the sweep's, a column a further set."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"further sets: {display_name(reported_metric(sweep))}, mean over the dims"
    )
    table.title_justify, table.title_style, table.pad_edge, table.padding = "left", "bold", False, (0, 1, 0, 0)
    table.add_column("job", overflow="fold")
    for name in further_sets(sweep):
        table.add_column(Text(name), justify="right", overflow="fold")
    for job in sweep.done:
        values = ("–" if value is None else f"{value:.3f}".removeprefix("0") for value in set_means(sweep, job))
        table.add_row(Text(settings_words(sweep, job)), *values)
    return table


def _mean(job: JobResult, name: str, metric: str) -> float | None:
    results = job.sets.get(name)
    if results is None or metric not in results.tuned.metrics[results.tuned.dims[0]]:
        return None
    return results.tuned.value(f"{metric}/mean")
