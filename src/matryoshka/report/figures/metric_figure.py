"""The figure of a run: one metric against the number of dimensions kept, before and after training."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from matryoshka.evaluation.result import NO_DIM, EvaluationResult, display_name
from matryoshka.report.figures.palette import Palette, blank
from matryoshka.storage.atomic import write_atomically

LEFT, BOTTOM, WIDTH = 0.085, 0.125, 0.815  # of the axes in the figure; the lines' names stand right of them
LINE_HEIGHT = 0.043  # of the lines under the title
SMALLEST_SPAN = 0.1  # of the value axis, so that noise does not look like a landslide


def metric_against_dim(
    tuned: EvaluationResult,
    base: EvaluationResult | None = None,
    metric: str = "ndcg@10",
    note: str = "",
    lexical: EvaluationResult | None = None,
    dark: bool = False,
) -> Figure:
    """The metric at each dim, on an axis of doublings; with a base, both models and the gain at each dim.

    note: what a reader must not miss, such as that another encoder stands in; put under the title. lexical: a baseline
    without dims, such as BM25, as a level line. Raises KeyError if the metric was not measured.
    """
    dims = tuned.dims[::-1]
    values = [tuned.metrics[dim][metric] for dim in dims]
    before = [base.metrics[dim][metric] for dim in dims] if base else None
    level = lexical.metrics[NO_DIM][metric] if lexical else None
    figure, palette = blank(5.2, dark)
    data = f"{tuned.data}: {tuned.queries:,} queries over {tuned.documents:,} documents"
    top = headings(figure, finding(tuned, metric), data, note, (0.925, 0.87), palette) - 0.025
    axes = figure.add_axes((LEFT, BOTTOM, WIDTH, top - BOTTOM))
    shown = [*values, *(before or []), *([] if level is None else [level])]
    dims_axis(axes, dims, shown, display_name(metric), palette)
    ends, own = [], "tuned" if base else "model"  # one that is measured alone may never have been tuned
    if before:
        dashes = (0, (4, 2.5))
        axes.plot(dims, before, color=palette.base, linestyle=dashes, marker="s", markersize=4.5, label="base")
        ends.append(("base", before[-1], palette.muted))
    if lexical and level is not None:
        dots, across = (0, (1, 2)), (dims[0], dims[-1])
        axes.plot(across, (level, level), color=palette.others[0], linestyle=dots, linewidth=1.6, label=lexical.model)
        ends.append((lexical.model, level, palette.others[0]))
    _name_lines(axes, dims[-1], [*ends, (own, values[-1], palette.tuned)] if ends else [])
    axes.plot(dims, values, color=palette.tuned, linewidth=2.4, marker="o", markersize=6.5, label=own)
    _annotate(axes, dims, values, before, palette)
    return figure


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


def headings(figure: Figure, title: str, data: str, note: str, at: tuple[float, float], palette: Palette) -> float:
    """Title, data and note, from the heights of the first two; returns that of what follows."""
    figure.text(0.025, at[0], title, fontsize=14.5, fontweight="bold", color=palette.ink, parse_math=False)
    y = at[1]
    for i, line in enumerate((data, *textwrap.wrap(note, 100))):
        weight = "bold" if i else "normal"
        figure.text(0.025, y, line, fontsize=9.5, color=palette.muted, fontweight=weight, parse_math=False)
        y -= LINE_HEIGHT
    return y


def dims_axis(
    axes: Axes,
    dims: Sequence[int],
    values: Sequence[float],
    metric: str,
    palette: Palette,
    smallest_span: float = SMALLEST_SPAN,
    room: tuple[float, float] = (0.12, 0.22),
) -> None:
    """Dims on an axis of doublings, values above it; room: below and above these, in shares of their span."""
    labelled = spaced(dims)
    axes.set_xscale("log", base=2)
    axes.set_xticks(dims, [str(dim) if dim in labelled else "" for dim in dims])
    axes.minorticks_off()
    low, high = min(values), max(values)
    slack = max(0.0, smallest_span - (high - low)) / 2
    span = high - low + 2 * slack
    axes.set_ylim(max(0.0, low - slack - room[0] * span), high + slack + room[1] * span)
    axes.set_xlabel("dimensions kept", color=palette.muted)
    axes.margins(x=0.06)
    frame(axes, metric, palette)


def frame(axes: Axes, title: str, palette: Palette) -> None:
    """The plain look of all axes: level rules, one spine, the name of what is shown above."""
    axes.set_title(title, loc="left", fontsize=9.5, color=palette.muted, pad=5, parse_math=False)
    axes.set_facecolor(palette.paper)
    axes.grid(axis="y", color=palette.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=palette.muted)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(palette.grid)


def spaced(dims: Sequence[int]) -> list[int]:
    """The dims that have room for a label: the widest and, from there down, each far enough from the last."""
    room = 0.085 * math.log2(dims[-1] / dims[0])
    kept = [dims[-1]]
    for dim in reversed(dims[:-1]):
        if math.log2(kept[-1] / dim) >= room:
            kept.append(dim)
    return kept


def _name_lines(axes: Axes, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
    """Each line's name at its right end, from (name, value, colour); where the ends meet, the last is above."""
    for name, y, color in spread(ends, axes):
        label = axes.annotate(name, (x, y), xytext=(20, 0), textcoords="offset points", va="center")
        label.set(color=color, fontweight="bold", parse_math=False)


def name_ends(axes: Axes, ends: Sequence[tuple[str, float, str]], apart: float, fontsize: float = 10) -> None:
    """Names of lines right of the axes, as high as the lines end, from (name, value, colour)."""
    for name, y, color in spread(ends, axes, apart):
        where = ("axes fraction", "data")
        label = axes.annotate(name, (1, y), xycoords=where, xytext=(6, 0), textcoords="offset points")
        label.set(va="center", color=color, fontweight="bold", parse_math=False, fontsize=fontsize)


def spread(ends: Sequence[tuple[str, float, str]], axes: Axes, apart: float = 0.055) -> list[tuple[str, float, str]]:
    """Where the names of lines stand that end at these values: at them, or around their middle where they would meet.

    ends: (name, value, colour). apart: the least distance of two names, in shares of the axes' height.
    """
    low, high = axes.get_ylim()
    apart *= high - low
    groups: list[list[tuple[str, float, str]]] = []
    for end in sorted(ends, key=lambda end: end[1]):
        groups.append([end])
        while len(groups) > 1 and _heights(groups[-1], apart)[0] - _heights(groups[-2], apart)[-1] < apart:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [(end[0], y, end[2]) for group in groups for end, y in zip(group, _heights(group, apart), strict=True)]


def _heights(group: Sequence[tuple[str, float, str]], apart: float) -> list[float]:
    """Of names that touch: evenly around the middle of their values."""
    middle = sum(value for _, value, _ in group) / len(group)
    return [middle + apart * (i - (len(group) - 1) / 2) for i in range(len(group))]


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
