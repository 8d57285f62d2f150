"""The figure of a run: one metric against the number of dimensions kept, before and after training."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from matryoshka.atomic import write_atomically
from matryoshka.retrieval.result import EvaluationResult

# Okabe and Ito's blue, told apart from grey by anyone; the lines differ in dashes and markers as well.
TUNED, BASE, INK, MUTED, GRID = "#0072B2", "#8A8A8A", "#1A1A1A", "#5F5F5F", "#E3E3E3"
NAMES = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP"}
LEFT, BOTTOM, WIDTH = 0.085, 0.125, 0.815  # of the axes in the figure; the lines' names stand right of them
LINE_HEIGHT = 0.043  # of the lines under the title
SMALLEST_SPAN = 0.1  # of the value axis, so that noise does not look like a landslide


def metric_against_dim(
    tuned: EvaluationResult, base: EvaluationResult | None = None, metric: str = "ndcg@10", note: str = ""
) -> Figure:
    """The metric at each dim, on an axis of doublings; with a base, both models and the gain at each dim.

    note: what a reader must not miss, such as that another encoder stands in; put under the title.
    Raises KeyError if the metric was not measured.
    """
    dims = tuned.dims[::-1]
    values = [tuned.metrics[dim][metric] for dim in dims]
    before = [base.metrics[dim][metric] for dim in dims] if base else None
    figure = Figure(figsize=(8.6, 5.2), facecolor="white")
    FigureCanvasAgg(figure)
    top = _headings(figure, finding(tuned, metric), tuned, note)
    axes = figure.add_axes((LEFT, BOTTOM, WIDTH, top - BOTTOM))
    _style(axes, dims, [*values, *(before or [])], display_name(metric))
    if before:
        axes.plot(dims, before, color=BASE, linestyle=(0, (4, 2.5)), marker="s", markersize=4.5, label="base")
        _name_lines(axes, dims[-1], values[-1], before[-1])
    axes.plot(dims, values, color=TUNED, linewidth=2.4, marker="o", markersize=6.5, label="tuned")
    _annotate(axes, dims, values, before)
    return figure


def finding(result: EvaluationResult, metric: str) -> str:
    """What the result says of its narrowest dim, as a sentence for a title."""
    widest, narrowest = result.dims[0], result.dims[-1]
    full, cut = (result.metrics[dim][metric] for dim in (widest, narrowest))
    if widest == narrowest or not full:
        return f"{display_name(metric)} with {widest} numbers a text"
    return f"{narrowest} numbers keep {cut / full:.0%} of the {display_name(metric)} of {widest}"


def display_name(metric: str) -> str:
    """A metric's name as the field writes it: `ndcg@10` -> nDCG@10."""
    name, at, k = metric.partition("@")
    return f"{NAMES.get(name, name)}{at}{k}"


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write `path`.png (150 dpi) and `path`.svg, each whole or not at all; returns their paths."""
    written = []
    # Without a date and with fixed ids an SVG is the same file every time.
    for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
        content = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "matryoshka", "svg.fonttype": "none"}):
            figure.savefig(content, format=suffix, dpi=150, metadata=metadata)
        written.append(write_atomically(path.with_name(f"{path.name}.{suffix}"), content.getvalue()))
    return written


def _headings(figure: Figure, title: str, result: EvaluationResult, note: str) -> float:
    """Title, data and note; returns where the axes may end."""
    data = f"{result.data}: {result.queries:,} queries over {result.documents:,} documents"
    lines = [data, *textwrap.wrap(note, 100)]
    figure.text(0.025, 0.925, title, fontsize=14.5, fontweight="bold", color=INK)
    for i, line in enumerate(lines):
        weight = "bold" if i else "normal"
        y = 0.87 - LINE_HEIGHT * i
        figure.text(0.025, y, line, fontsize=9.5, color=MUTED, fontweight=weight, parse_math=False)
    return 0.845 - LINE_HEIGHT * len(lines)


def _style(axes: Axes, dims: Sequence[int], values: Sequence[float], metric: str) -> None:
    labelled = _spaced(dims)
    axes.set_xscale("log", base=2)
    axes.set_xticks(dims, [str(dim) if dim in labelled else "" for dim in dims])
    axes.minorticks_off()
    low, high = min(values), max(values)
    slack = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    span = high - low + 2 * slack
    axes.set_ylim(max(0.0, low - slack - 0.12 * span), high + slack + 0.22 * span)
    axes.set_xlabel("dimensions kept", color=MUTED)
    axes.set_title(metric, loc="left", fontsize=9.5, color=MUTED, pad=5)
    axes.margins(x=0.06)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=MUTED)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def _spaced(dims: Sequence[int]) -> list[int]:
    """The dims that have room for a label: the widest and, from there down, each far enough from the last."""
    room = 0.085 * math.log2(dims[-1] / dims[0])
    kept = [dims[-1]]
    for dim in reversed(dims[:-1]):
        if math.log2(kept[-1] / dim) >= room:
            kept.append(dim)
    return kept


def _name_lines(axes: Axes, x: float, tuned: float, base: float) -> None:
    """Each line's name at its right end, kept apart where the ends meet."""
    low, high = axes.get_ylim()
    nudge = max(0.0, 0.055 * (high - low) - abs(tuned - base)) / 2
    nudge = nudge if tuned >= base else -nudge
    for name, y, color in (("tuned", tuned + nudge, TUNED), ("base", base - nudge, MUTED)):
        label = axes.annotate(name, (x, y), xytext=(14, 0), textcoords="offset points", va="center")
        label.set(color=color, fontweight="bold")


def _annotate(axes: Axes, dims: Sequence[int], values: Sequence[float], before: Sequence[float] | None) -> None:
    """The value at each point and, smaller, the gain over the base; below the point where it is a loss."""
    labelled = _spaced(dims)
    for i, (dim, value) in enumerate(zip(dims, values, strict=True)):
        if dim not in labelled:
            continue
        gained = value - before[i] if before else 0.0
        above = gained >= 0
        texts = [(f"{value:.3f}", 10.0, "bold")]
        if before:
            texts.insert(0 if above else 1, (f"{gained:+.3f}".replace("-", "−"), 8.5, "normal"))
        offset = 9.0 if above else -9.0
        for text, size, weight in texts:
            label = axes.annotate(text, (dim, value), xytext=(0, offset), textcoords="offset points")
            label.set(ha="center", va="bottom" if above else "top", color=TUNED)
            label.set(fontsize=size, fontweight=weight)
            label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
            offset += 1.3 * size if above else -1.3 * size
