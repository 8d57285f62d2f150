"""The figure of a run: one metric against the number of dimensions kept, before and after training."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from matryoshka.evaluation.result import NO_DIM, EvaluationResult, display_name
from matryoshka.report.figures.axes import dims_axis, spaced, spread
from matryoshka.report.figures.palette import Palette, blank
from matryoshka.storage.atomic import write_atomically

LEFT, BOTTOM, WIDTH = 0.085, 0.125, 0.815  # of the axes in the figure; the lines' names stand right of them
LINE_HEIGHT = 0.043  # of the lines under the title


def metric_against_dim(
    tuned: EvaluationResult,
    base: EvaluationResult | None = None,
    metric: str = "ndcg@10",
    note: str = "",
    lexical: EvaluationResult | None = None,
    projected: EvaluationResult | None = None,
    own: str = "tuned",
    dark: bool = False,
) -> Figure:
    """The metric at each dim, on an axis of doublings; with a base, both models and the gain at each dim.

    note: what a reader must not miss, such as that another encoder stands in; put under the title. lexical: a baseline
    without dims, such as BM25, as a level line. projected: what a projection alone gave before the encoder was trained
    with it, between the two. own: the name of tuned's line beside others. Raises KeyError if the metric was not
    measured.
    """
    dims = tuned.dims[::-1]
    values = [tuned.metrics[dim][metric] for dim in dims]
    before = [base.metrics[dim][metric] for dim in dims] if base else None
    figure, palette = blank(5.2, dark)
    data = [f"{tuned.data}: {tuned.queries:,} queries over {tuned.documents:,} documents"]
    data += [shares(tuned, base, projected, metric)] if base and projected else []
    top = headings(figure, finding(tuned, metric), data, note, (0.925, 0.87), palette) - 0.025
    axes = figure.add_axes((LEFT, BOTTOM, WIDTH, top - BOTTOM))
    others = _others(dims, metric, base, projected, lexical, palette)
    dims_axis(axes, dims, [*values, *(y for line in others for y in line.values)], display_name(metric), palette)
    for line in others:
        axes.plot(dims, line.values, color=line.color, label=line.name, **line.style)
    ends = [(line.name, line.values[-1], palette.muted if line.name == "base" else line.color) for line in others]
    own = own if base else "model"  # one that is measured alone may never have been tuned
    _name_lines(axes, dims[-1], [*ends, (own, values[-1], palette.tuned)] if ends else [])
    axes.plot(dims, values, color=palette.tuned, linewidth=2.4, marker="o", markersize=6.5, label=own)
    _annotate(axes, dims, values, before, palette)
    return figure


class _Line(NamedTuple):
    """A line beside the model's own."""

    name: str
    values: list[float]
    color: str
    style: dict[str, Any]


def _others(
    dims: Sequence[int],
    metric: str,
    base: EvaluationResult | None,
    projected: EvaluationResult | None,
    lexical: EvaluationResult | None,
    palette: Palette,
) -> list[_Line]:
    """Base, projection and BM25, as far as they were measured."""
    lines = []
    for name, result, color, dashes, marker, size in (
        ("base", base, palette.base, (0, (4, 2.5)), "s", 4.5),
        ("projection", projected, palette.others[1], (0, (7, 2, 1.5, 2)), "D", 4.5),
    ):
        if result:
            style = {"linestyle": dashes, "marker": marker, "markersize": size}
            lines.append(_Line(name, [result.metrics[dim][metric] for dim in dims], color, style))
    if lexical:
        level, style = lexical.metrics[NO_DIM][metric], {"linestyle": (0, (1, 2)), "linewidth": 1.6}
        lines.append(_Line(lexical.model, [level] * len(dims), palette.others[0], style))
    return lines


def shares(tuned: EvaluationResult, base: EvaluationResult, projected: EvaluationResult, metric: str) -> str:
    """What the projection alone gave and what training with it added, on average over the dims, as a sentence."""
    start, middle, end = (result.value(f"{metric}/mean") for result in (base, projected, tuned))
    gained, given, added = (f"{x:+.3f}".replace("-", "−") for x in (end - start, middle - start, end - middle))
    return (
        f"Of {gained} {display_name(metric)} on average over the dims, the projection gave {given} and training {added}"
    )


def finding(result: EvaluationResult, metric: str) -> str:
    """What the result says of its narrowest dim, as a sentence for a title."""
    widest, narrowest = result.dims[0], result.dims[-1]
    full, cut = (result.metrics[dim][metric] for dim in (widest, narrowest))
    if widest == narrowest or not full:
        return f"{display_name(metric)} with {widest} numbers a text"
    return f"{narrowest} numbers keep {cut / full:.0%} of the {display_name(metric)} of {widest}"


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


def headings(
    figure: Figure, title: str, data: Sequence[str], note: str, at: tuple[float, float], palette: Palette
) -> float:
    """Title, lines on the data and note, from the heights of the first two; returns that of what follows."""
    figure.text(0.025, at[0], title, fontsize=14.5, fontweight="bold", color=palette.ink, parse_math=False)
    y = at[1]
    for i, line in enumerate((*data, *textwrap.wrap(note, 100))):
        weight = "normal" if i < len(data) else "bold"
        figure.text(0.025, y, line, fontsize=9.5, color=palette.muted, fontweight=weight, parse_math=False)
        y -= LINE_HEIGHT
    return y


def _name_lines(axes: Axes, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
    """Each line's name at its right end, from (name, value, colour); where the ends meet, the last is above."""
    for name, y, color in spread(ends, axes, apart=0.065):
        label = axes.annotate(name, (x, y), xytext=(20, 0), textcoords="offset points", va="center")
        label.set(color=color, fontweight="bold", parse_math=False)


def _annotate(
    axes: Axes, dims: Sequence[int], values: Sequence[float], before: Sequence[float] | None, palette: Palette
) -> None:
    """The value at each point and, smaller, the gain over the base; below the point where it is a loss."""
    labelled = spaced(dims)
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
            label.set(ha="center", va="bottom" if above else "top", color=palette.tuned)
            label.set(fontsize=size, fontweight=weight)
            label.set_path_effects([withStroke(linewidth=2.5, foreground=palette.paper)])
            offset += 1.3 * size if above else -1.3 * size
