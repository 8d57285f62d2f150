"""A suite in the terminal: a row a set, their mean and the worst, one metric at every dim."""

from __future__ import annotations

from rich.text import Text

from matryoshka.evaluation.result import NO_DIM, EvaluationResult, display_name, shown_metric
from matryoshka.evaluation.suite import SuiteResult
from matryoshka.report.terminal.lines import console, plain_table, say

LEGEND = (
    "mean: over the sets, each of which counts alike; worst: the lowest of them; "
    "±: half of the 95% interval, by bootstrap over the queries within each set"
)


def show_suite(suite: SuiteResult) -> None:
    """The metric that stands for a result, half its 95% interval beside it, and BM25's.

    The table of the mean has those of models that are baselines, and suite.csv all.
    """
    metric, mean = shown_metric(suite.mean), suite.mean
    title = f"{mean.model} on {mean.data}: {display_name(metric)}, {mean.precision}"
    table = plain_table(title, padding=0, show_edge=False)  # fits 80 characters
    table.add_column("set", style="bold", overflow="fold", min_width=len("worst"))
    by_words = [other for other in suite.baselines if NO_DIM in other.mean.metrics]
    for heading in (*map(str, mean.dims), *(other.mean.model for other in by_words)):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for name, result in suite.sets.items():
        others = [_widest(other.sets[name], metric) for other in by_words]
        table.add_row(Text(name), *(_cell(result, dim, metric) for dim in mean.dims), *others)
    table.add_section()
    others = [_widest(other.mean, metric) for other in by_words]
    table.add_row("mean", *(_cell(mean, dim, metric) for dim in mean.dims), *others)
    lowest = [suite.sets[suite.worst(metric, dim)].metrics[dim][metric] for dim in mean.dims]
    others = [min(_widest(result, metric) for result in other.sets.values()) for other in by_words]
    table.add_row("worst", *map(_number, lowest), *others)
    console.print(table)
    console.print(Text(LEGEND, style="dim"))
    for name, why in suite.missing.items():
        say("missing", f"{name}: {why}")


def _cell(result: EvaluationResult, dim: int, metric: str) -> Text:
    low, high = result.intervals.get(dim, {}).get(metric, (0.0, 0.0))
    half = f" ±{_number((high - low) / 2)}" if high > low else ""
    return Text.assemble(_number(result.metrics[dim][metric]), (half, "dim"))


def _widest(result: EvaluationResult, metric: str) -> str:
    return _number(result.metrics[result.dims[0]][metric])


def _number(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
