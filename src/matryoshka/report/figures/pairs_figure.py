"""The figure of a learning curve: one metric against the number of training pairs, a line a dim."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from matryoshka.evaluation.learning_curve import LearningCurve
from matryoshka.evaluation.result import EvaluationResult, display_name
from matryoshka.report.figures.axes import SMALLEST_SPAN, frame, name_ends
from matryoshka.report.figures.curves import MARKERS
from matryoshka.report.figures.metric_figure import headings
from matryoshka.report.figures.palette import blank

LEFT, BOTTOM, WIDTH = 0.085, 0.125, 0.83  # of the axes in the figure; the dims stand right of them
BAND = 0.13  # opacity of an interval, so that five of them can lie over each other
TITLES = {"more pairs": "More pairs would help", "wider dims": "Wider dims, not more pairs, would help"}


def metric_against_pairs(
    curve: LearningCurve, base: EvaluationResult, fitted: str, note: str = "", dark: bool = False
) -> Figure:
    """The metric at each number of pairs, on an axis of doublings; a band is the 95% interval of a dim.

    base: the encoder without any, as dashes. fitted: what was fitted on the pairs. note: as of metric_against_dim.
    """
    figure, palette = blank(5.2, dark)
    data = [f"{base.data}: {base.queries:,} queries over {base.documents:,} documents; {fitted}"]
    data += textwrap.wrap(curve.finding.partition(": ")[2], 110)
    title = TITLES.get(curve.verdict, "Neither more pairs nor wider dims are shown to help")
    top = headings(figure, title, data, note, (0.925, 0.87), palette) - 0.025
    axes = figure.add_axes((LEFT, BOTTOM, WIDTH, top - BOTTOM))
    ramp = LinearSegmentedColormap.from_list("dims", palette.from_wide_to_narrow)
    axes.set_xscale("log", base=2)
    seen: list[float] = []
    ends = []
    for i, dim in enumerate(curve.dims):
        color = mpl.colors.to_hex(ramp(i / max(len(curve.dims) - 1, 1)))
        before = base.metrics[dim][curve.metric]
        axes.axhline(before, xmax=0.06, color=color, linewidth=1.6, linestyle=(0, (2, 1.5)), label=f"base {dim}")
        seen += [before, *_line(axes, curve, dim, color, MARKERS[i % len(MARKERS)])]
        ends.append((str(dim), curve.points[-1].values[dim], color))
    slack = max(0.0, SMALLEST_SPAN - (max(seen) - min(seen))) / 2 + 0.01
    axes.set_ylim(min(seen) - slack, max(seen) + slack)
    _pairs_axis(axes, [point.pairs for point in curve.points])
    axes.set_xlabel("training pairs; at the left edge, none", color=palette.muted)
    frame(axes, display_name(curve.metric), palette)
    name_ends(axes, ends, apart=0.06)
    return figure


def _line(axes: Axes, curve: LearningCurve, dim: int, color: str, marker: str) -> list[float]:
    """A dim's values and the band of its intervals, where it has some; all that the axis must have room for."""
    pairs, values = [point.pairs for point in curve.points], [point.values[dim] for point in curve.points]
    axes.plot(pairs, values, color=color, linewidth=2, marker=marker, markersize=5, label=str(dim))
    intervals = [interval for point in curve.points if (interval := point.intervals[dim])]
    if len(intervals) < len(pairs):
        return values
    low, high = ([interval[end] for interval in intervals] for end in (0, 1))
    axes.fill_between(pairs, low, high, color=color, alpha=BAND, linewidth=0)
    return [*values, *low, *high]


def _pairs_axis(axes: Axes, pairs: list[int]) -> None:
    """Numbers of pairs on an axis of doublings, with room for what the encoder gives without any."""
    axes.set_xlim(pairs[0] / (pairs[-1] / pairs[0]) ** 0.18, pairs[-1] * 1.03)
    axes.set_xticks(pairs, [f"{number:,}" for number in pairs])
    axes.minorticks_off()
