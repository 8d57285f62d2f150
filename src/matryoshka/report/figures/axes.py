"""What figures of metrics share: axes of dims and values, and the names of lines at their ends."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from matryoshka.report.figures.palette import Palette

SMALLEST_SPAN = 0.1  # of the value axis, so that noise does not look like a landslide


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
