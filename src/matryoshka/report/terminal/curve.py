"""What more training pairs give, in the terminal."""

from __future__ import annotations

from rich.text import Text

from matryoshka.evaluation.learning_curve import CurvePoint, LearningCurve
from matryoshka.evaluation.result import EvaluationResult, display_name
from matryoshka.report.terminal.lines import console, plain_table, say


def show_curve(curve: LearningCurve, base: EvaluationResult) -> None:
    """One row a number of pairs, below the untrained encoder's; one column a dim; then what that asks for."""
    title = f"{display_name(curve.metric)} at each dim, on {base.queries:,} test queries"
    table = plain_table(title, padding=(0, 1, 0, 0))
    table.add_column(Text("pairs"), justify="right", no_wrap=True, style="bold")
    for dim in curve.dims:
        table.add_column(Text(str(dim)), justify="right", no_wrap=True)
    before = {dim: base.intervals.get(dim, {}).get(curve.metric) for dim in curve.dims}
    values = {dim: base.metrics[dim][curve.metric] for dim in curve.dims}
    for point in (CurvePoint(0.0, 0, values, before, base.value(f"{curve.metric}/mean")), *curve.points):
        cells = [_cell(point.values[dim], point.intervals[dim]) for dim in curve.dims]
        table.add_row(f"{point.pairs:,} ({point.share:.0%})" if point.pairs else "none: as it is", *cells)
    table.caption = "±: half of the 95% interval, by bootstrap over queries, of one row; rows share their queries"
    console.print(table)
    console.print(Text(curve.finding, style="bold"), soft_wrap=True)


def show_next(command: str) -> None:
    """The command that asks the same of a training."""
    if command:
        say("training", f"no encoder was trained; how it gains from pairs, a job a number: {command}")


def _cell(value: float, interval: tuple[float, float] | None) -> str:
    half = f" ±{(interval[1] - interval[0]) / 2:.3f}".replace("±0", "±") if interval else ""
    return f"{value:.3f}".lstrip("0") + half
