"""Which figures a sweep has something for, and that of its jobs: a test metric against dims."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from matryoshka.evaluation.result import EvaluationResult, display_name
from matryoshka.report.figures.axes import dims_axis, name_ends, spaced
from matryoshka.report.sweep.sweep_figures import heat_map, lines_along, sheet
from matryoshka.report.sweep.sweep_verdict import reported_metric, selected_words, settings_words
from matryoshka.sweep.effects import as_level, in_order, main_effects, with_value
from matryoshka.sweep.ranges import in_ranges, is_number
from matryoshka.sweep.result import Sweep

MOST_LEVELS = 12  # of a key in a heat map
MOST_LINES = 8
Draw = Callable[..., Figure]  # takes dark
Curve = tuple[list[int], list[float]]  # dims, values
SMALLEST_SPAN = 0.05  # of the value axis


def sweep_figures(sweep: Sweep) -> dict[str, tuple[Draw, str]]:
    """File name -> how to draw it, and what it shows in a sentence; without those that would show nothing."""
    found: dict[str, tuple[Draw, str]] = {}
    by_effect = _by_effect(sweep)
    name = selected_words(sweep.selected)
    if pair := _pair(sweep, by_effect):
        said = f"{name} over the two settings that matter most, {pair[0]} and {pair[1]}"
        found["heat_map"] = (partial(heat_map, sweep, *pair), said)
    if x_key := next((key for key in by_effect if _numbers(sweep, key)), None):
        line_key = _line_key(sweep, [key for key in by_effect if key != x_key])
        by = f", a line for each {line_key}" if line_key else ""
        found["lines"] = (partial(lines_along, sweep, x_key, line_key), f"{name} along {x_key}{by}")
    if len({dim for job in sweep.done if job.tuned for dim in job.tuned.dims}) > 1:
        metric = display_name(reported_metric(sweep))
        said = f"{metric} on the test queries against dimensions kept, the best job above the others"
        found["metric_against_dim"] = (partial(jobs_against_dims, sweep), said)
    return found


def _by_effect(sweep: Sweep) -> list[str]:
    """The keys with two levels or more among the jobs with a value, what matters most first."""
    effects = main_effects(sweep)
    return [effect.key for effect in effects.effects] if effects else []


def _pair(sweep: Sweep, by_effect: list[str]) -> tuple[str, str] | None:
    """The keys along and up the heat map; None where there are no two, or where jobs would be lone dots in it."""
    levels = {key: {as_level(job.settings.get(key)) for job in in_ranges(sweep).jobs} for key in by_effect}
    fit = [key for key in by_effect if len(levels[key]) <= MOST_LEVELS][:2]
    if len(fit) < 2 or len(levels[fit[0]]) * len(levels[fit[1]]) >= 2 * len(sweep.jobs):
        return None
    along = min(fit, key=lambda key: (not _numbers(sweep, key), max(map(len, levels[key]))))  # its levels are short
    return along, next(key for key in fit if key != along)


def _numbers(sweep: Sweep, key: str) -> bool:
    return all(is_number(job.settings.get(key)) for job in with_value(sweep))


def _line_key(sweep: Sweep, keys: list[str]) -> str | None:
    """Of the other keys the one that matters most and is no number; else any; none with too many levels."""
    few = [key for key in keys if len(in_order(job.settings.get(key) for job in with_value(sweep))) <= MOST_LINES]
    return min(few, key=lambda key: (_numbers(sweep, key), few.index(key)), default=None)


def jobs_against_dims(sweep: Sweep, dark: bool = False) -> Figure:
    """The metric at each dim that a job was measured at: the best job named, its base dashed, the others muted."""
    metric, (best, *others) = reported_metric(sweep), sweep.done
    lines = [f"best job: {settings_words(sweep, best)}"]
    if others:
        lines.append(f"thin lines: the {len(others)} other jobs" if len(others) > 1 else "thin line: the other job")
    title = f"{display_name(metric)} on the test queries when embeddings are cut"
    figure, palette = sheet(3.7, title, lines, sweep.stand_in, dark)
    height = float(figure.get_size_inches()[1])
    axes = figure.add_axes((0.085, 0.6 / height, 0.815, 2.8 / height))
    own, before = curve(best.tuned, metric), curve(best.base, metric)
    behind = [curve(job.tuned, metric) for job in others]
    curves = [own, before, *behind]
    dims, values = sorted({dim for dims, _ in curves for dim in dims}), [v for _, values in curves for v in values]
    dims_axis(axes, dims, values, display_name(metric), palette, SMALLEST_SPAN, (0.08, 0.15))
    for dims, values in behind:
        axes.plot(dims, values, color=palette.base, linewidth=1, alpha=0.5, marker=".", markersize=3)
    ends = [("best", own[1][-1], palette.tuned)]
    if before[0]:
        axes.plot(*before, color=palette.muted, linestyle=(0, (4, 2.5)), marker="s", markersize=4, label="base")
        ends.append(("base", before[1][-1], palette.muted))
    axes.plot(*own, color=palette.tuned, linewidth=2.4, marker="o", markersize=6, label="best")
    name_ends(axes, ends, apart=0.075)
    for dim, value in zip(*own, strict=True):
        if dim in spaced(own[0]):
            label = axes.annotate(f"{value:.3f}", (dim, value), xytext=(0, 9), textcoords="offset points")
            label.set(ha="center", va="bottom", fontsize=10, fontweight="bold", color=palette.tuned)
            label.set_path_effects([withStroke(linewidth=2.5, foreground=palette.paper)])
    return figure


def curve(result: EvaluationResult | None, metric: str) -> Curve:
    """The dims at which a result has the metric, narrowest first, and the values there; empty for none."""
    found = {dim: result.metrics[dim] for dim in reversed(result.dims)} if result else {}
    there = {dim: values[metric] for dim, values in found.items() if metric in values}
    return list(there), list(there.values())
