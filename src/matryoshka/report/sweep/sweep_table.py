"""A sweep in the terminal: its jobs, best first, what can be told apart, and what matters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table
from rich.text import Text

from matryoshka.durations import in_words
from matryoshka.evaluation.result import display_name
from matryoshka.report.sweep.sweep_verdict import (
    Reported,
    closeness,
    common_dims,
    reported_figures,
    reported_metric,
    selected_words,
    settings_words,
    verdict,
)
from matryoshka.report.terminal.lines import console, plain_table, say, show_paths, show_stand_in
from matryoshka.sweep.effects import as_level, main_effects
from matryoshka.sweep.result import JobResult, Sweep

STATES = {"running": "stopped"}  # a job that is over and still says so was killed


def show_sweep(sweep: Sweep, written: Mapping[str, Path]) -> None:
    """The tables of the jobs, the verdict, what matters most, jobs without a result with the reason, and every path."""
    show_stand_in(sweep.stand_in)
    if sweep.done:
        console.print(job_table(sweep))
    if further_sets(sweep):
        console.print(sets_table(sweep))
    say("best", verdict(sweep))
    if near := closeness(sweep):
        say("apart", near)
    if effects := main_effects(sweep):
        say("matters", effects.finding())
    if sweep.split and sweep.done:
        say("split", sweep.split)
    for job in unfinished(sweep):
        label = (f"{state(job):>8}  ", "bold red")
        console.print(Text.assemble(label, settings_words(sweep, job), (f": {reason(job)}", "dim")), soft_wrap=True)
    if pruned := given_up(sweep):
        say("pruned", f"{len(pruned)} of {len(sweep.jobs)} trials were given up early, behind the others")
    show_paths(written)


def job_table(sweep: Sweep) -> Table:
    """The done jobs: settings, selecting metric, test figures with half their intervals, time."""
    table = plain_table(f"{sweep.name}: {len(sweep.done)} of {len(sweep.jobs)} jobs, best first", padding=0)
    for i, label in enumerate(setting_labels(sweep) or ("job",)):
        longest = max(len(_settings(sweep, job)[i]) for job in sweep.done)
        table.add_column(Text(label), overflow="fold", no_wrap=longest <= 20)
    labels = [f"chosen by {selected_words(sweep.selected)}", *(f"test {label}" for label in reported_labels(sweep))]
    for i, label in enumerate(labels):
        width = max(10, *map(len, label.split()))  # fits 80 characters with three settings
        table.add_column(Text(label), justify="right", style="" if i else "bold", max_width=width)
    table.add_column("time", justify="right", no_wrap=True)
    for job in sweep.done:
        value = "" if job.value is None else f"{job.value:.4f}"
        figures = [_cell(figure, not common_dims(sweep)) for figure in reported_figures(sweep, job)]
        table.add_row(
            *map(Text, _settings(sweep, job)), value, *figures, "" if job.seconds is None else in_words(job.seconds)
        )
    if any(figure and figure.interval for job in sweep.done for figure in reported_figures(sweep, job)):
        table.caption = "±: half of the 95% interval on the test queries; the order is that of the bold column"
    return table


def setting_labels(sweep: Sweep) -> tuple[str, ...]:
    """The keys that differ, by their last part where that is clear: optimizer.lr -> lr."""
    last = [key.rpartition(".")[2] for key in sweep.keys]
    return tuple(short if last.count(short) == 1 else key for short, key in zip(last, sweep.keys, strict=True))


def reported_labels(sweep: Sweep) -> tuple[str, ...]:
    """The columns of test figures: at dims that all jobs have, else at each job's own."""
    name = display_name(reported_metric(sweep))
    if dims := common_dims(sweep):
        return tuple(f"{name} at {dim}" for dim in dims)
    return (f"{name}, widest", f"{name}, narrowest") if sweep.done else ()


def unfinished(sweep: Sweep) -> tuple[JobResult, ...]:
    """The jobs that should have a result and have none, for whatever reason."""
    done = {job.name for job in sweep.done}
    return tuple(job for job in sweep.jobs if job.name not in done and job.state != "pruned")


def given_up(sweep: Sweep) -> tuple[JobResult, ...]:
    """The trials that were given up early, which is no failure."""
    return tuple(job for job in sweep.jobs if job.state == "pruned")


def state(job: JobResult) -> str:
    """What became of a job, in a word."""
    return STATES.get(job.state, job.state)


def reason(job: JobResult) -> str:
    """Why a job has no result, in a line."""
    told = {
        "running": "killed before its end",
        "pruned": "given up early, behind the others",
        "done": "left no results",
    }
    return " ".join(job.error.split()) or told.get(job.state, "no reason was recorded")


def _settings(sweep: Sweep, job: JobResult) -> list[str]:
    return [as_level(job.settings.get(key)) for key in sweep.keys] or [job.name]


def _cell(figure: Reported | None, with_dim: bool) -> Text:
    if figure is None:
        return Text("–")
    half = "" if figure.interval is None else f" ±{(figure.interval[1] - figure.interval[0]) / 2:.3f}"
    own = f" ({figure.dim})" if with_dim else ""
    return Text.assemble(f"{figure.value:.3f}".removeprefix("0"), (half.replace("±0.", "±.") + own, "dim"))


def further_sets(sweep: Sweep) -> tuple[str, ...]:
    """The names of the sets that any done job was measured on."""
    return tuple(dict.fromkeys(name for job in sweep.done for name in job.sets))


def set_means(sweep: Sweep, job: JobResult) -> tuple[float | None, ...]:
    """A job's value of `reported_metric` on each of them, the mean over its dims; None for what was not measured."""
    return tuple(_mean(job, name, reported_metric(sweep)) for name in further_sets(sweep))


def sets_table(sweep: Sweep) -> Table:
    """A row a done job, in the order of the sweep's, a column a further set."""
    title = f"further sets: {display_name(reported_metric(sweep))}, mean over the dims"
    table = plain_table(title, padding=(0, 1, 0, 0))
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
