"""The figure of a deployment: the metric against bytes per vector, and what to deploy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.report.figures.axes import SMALLEST_SPAN, frame
from matryoshka.report.figures.metric_figure import headings
from matryoshka.report.figures.palette import Palette, blank

Boxes = np.ndarray[Any, np.dtype[np.float64]]
MARKERS = {"float32": "o", "float16": "s", "int8": "D", "binary": "^"}
SIZES = {"float32": 6.5, "float16": 6.0, "int8": 6.0, "binary": 7.5}  # of markers, so that all look alike
# Where a label may stand, in points from its own; above last, where the line to the rescored one is.
PLACES = ((7, 0), (-7, 0), (7, -6), (-7, 6), (0, -8), (7, 6), (-7, -6), (0, 8), (0, -16), (0, 16))
ALIGNED = {-1: "right", 0: "center", 1: "left"}
LEFT, BOTTOM, WIDTH = 0.075, 0.115, 0.9  # of the axes in the figure


def metric_against_bytes(deployment: Deployment, keep: float = 0.98, note: str = "", dark: bool = False) -> Figure:
    """All options on an axis of doublings: plain ones filled, rescored ones hollow above them, the fronts as lines.

    keep: the share of the full value that the advised options keep at least. note: what a reader must not miss, such as
    that another encoder stands in; put under the title. dark: for a dark page.
    """
    figure, palette = blank(5.6, dark)
    data = [*deployment.choices(keep)[1:], f"{deployment.basis}; int8 calibrated on {deployment.calibration:,} others"]
    y = headings(figure, deployment.saving(keep), data, note, (0.94, 0.895), palette)
    _legend(figure, deployment, y + 0.03, palette)
    axes = figure.add_axes((LEFT, BOTTOM, WIDTH, y - 0.075 - BOTTOM))
    _style(axes, deployment, palette)
    _fronts(axes, deployment, palette)
    _points(axes, deployment, palette)
    advised = list(dict.fromkeys(deployment.advised(keep, rescored) for rescored in (False, True)))
    for option in advised:
        (ring,) = axes.plot(*_place(option), "o", markersize=17, fillstyle="none", color=palette.ink, zorder=5)
        ring.set(markeredgewidth=1.0 if option.rescored else 1.6)
        ring.set_gid("advised-rescored" if option.rescored else "advised")
    _label(axes, deployment, advised, palette)
    return figure


def _color(precision: str, palette: Palette) -> str:
    return dict(zip(MARKERS, (palette.tuned, *palette.others), strict=True))[precision]


def _place(option: DeploymentOption) -> tuple[float, float]:
    return option.bytes_per_vector, option.value


def _style(axes: Axes, deployment: Deployment, palette: Palette) -> None:
    sizes = [option.bytes_per_vector for option in deployment.options]
    low, high = min(o.value for o in deployment.options), max(o.value for o in deployment.options)
    slack = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    span = high - low + 2 * slack
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
    doublings = [2**i for i in range(40) if min(sizes) / 1.3 <= 2**i <= max(sizes) * 1.3]
    axes.set_xticks(doublings, [f"{size:,}" for size in doublings])
    axes.minorticks_off()
    axes.set_ylim(max(0.0, low - slack - 0.1 * span), high + slack + 0.1 * span)
    axes.set_xlabel("bytes per vector in the index that is searched", color=palette.muted)
    frame(axes, deployment.metric_name, palette)


def _fronts(axes: Axes, deployment: Deployment, palette: Palette) -> None:
    """What no plain option beats, as a solid line; what no option at all beats, dashed."""
    for rescored, style in ((True, (0, (4, 2.5))), (False, "-")):
        xs, ys = zip(*map(_place, deployment.pareto(rescored)), strict=True)
        axes.plot(xs, ys, color=palette.muted, linestyle=style, linewidth=1.3, zorder=1.5, label=f"front {rescored}")


def _points(axes: Axes, deployment: Deployment, palette: Palette) -> None:
    for precision, marker in MARKERS.items():
        for rescored in (True, False):
            some = [o for o in deployment.options if (o.precision, o.rescored) == (precision, rescored)]
            xs, ys = [o.bytes_per_vector for o in some], [o.value for o in some]
            (line,) = axes.plot(xs, ys, marker, color=_color(precision, palette), markersize=SIZES[precision])
            line.set(label=f"{precision}{', rescored' if rescored else ''}", zorder=3 if rescored else 4)
            if rescored:
                line.set(markerfacecolor=palette.paper, markeredgewidth=1.2)
                plain = [deployment.option(o.dim, precision).value for o in some]
                axes.vlines(xs, plain, ys, color=_color(precision, palette), linewidth=1, alpha=0.35, zorder=1)


def _legend(figure: Figure, deployment: Deployment, y: float, palette: Palette) -> None:
    keys = [
        Line2D([], [], color=_color(name, palette), marker=MARKERS[name], linestyle="", label=name) for name in MARKERS
    ]
    hits = f"hollow: first {deployment.rescored_hits} hits rescored"
    keys.append(Line2D([], [], color=palette.muted, marker="o", markerfacecolor="none", linestyle="", label=hits))
    keys.append(Line2D([], [], color=palette.muted, label="Pareto front (dashed: of all)"))
    legend = figure.legend(handles=keys, loc="upper left", bbox_to_anchor=(0.012, y), ncols=len(keys), fontsize=8.2)
    legend.set_frame_on(False)
    for text in legend.get_texts():
        text.set_color(palette.muted)


def _label(axes: Axes, deployment: Deployment, advised: Sequence[DeploymentOption], palette: Palette) -> None:
    """The dim at each plain point, where it covers neither a point nor another label; the advised ones' names first."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    lines = [*_along(deployment, False), *_along(deployment, True)]
    points = list(map(_place, deployment.options))
    taken = [*_around(axes, points, 4.5), *_around(axes, lines, 1.5), *_around(axes, list(map(_place, advised)), 9.5)]
    plain = [option for option in deployment.options if not option.rescored and option not in advised]
    for option in [*advised, *sorted(plain, key=lambda option: option.bytes_per_vector)]:
        text = option.name if option in advised else str(option.dim)
        label = axes.annotate(text, _place(option), textcoords="offset points", xytext=(0, 0), zorder=6)
        label.set(color=_color(option.precision, palette), fontsize=8.5, parse_math=False)
        label.set_path_effects([withStroke(linewidth=2, foreground=palette.paper)])
        if option in advised:
            label.set(fontweight="bold", fontsize=10)
        taken.append(_settle(label, np.array(taken), 1.8 if option in advised else 1.0))


def _along(deployment: Deployment, rescored: bool) -> list[tuple[float, float]]:
    """Places close to each other on a front's line."""
    front = [_place(option) for option in deployment.pareto(rescored)]
    steps = [i / 24 for i in range(25)]
    if len(front) == 1:
        return front
    return [(x * (u / x) ** step, y + (v - y) * step) for (x, y), (u, v) in pairwise(front) for step in steps]


def _settle(label: Annotation, taken_N4: Boxes, farther: float) -> Boxes:
    """Put a label where it covers least of what is there; returns the box that it takes."""
    renderer = label.axes.figure.canvas.get_renderer()  # type: ignore[union-attr]

    def moved(place: tuple[float, float]) -> Boxes:
        x, y = place
        label.set_position((x * farther, y * farther))
        label.set(ha=ALIGNED[(x > 0) - (x < 0)], va={-1: "top", 0: "center", 1: "bottom"}[(y > 0) - (y < 0)])
        return np.array(label.get_window_extent(renderer).extents)

    def covered(place: tuple[float, float]) -> float:
        box_4 = moved(place)
        sides_N2 = np.minimum(box_4[2:], taken_N4[:, 2:]) - np.maximum(box_4[:2], taken_N4[:, :2])
        return float(sides_N2.clip(min=0).prod(1).sum())

    return moved(min(PLACES, key=covered))


def _around(axes: Axes, points: Sequence[tuple[float, float]], reach: float) -> Boxes:
    """Boxes (left, bottom, right, top) that go `reach` points of 1/72 inch to each side, (N, 4), in pixels."""
    places_N2 = axes.transData.transform(points)
    far = reach * axes.figure.dpi / 72
    return np.hstack([places_N2 - far, places_N2 + far])
