"""The figure of one curve."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from record import Curve, Numbers

from matryoshka.report.figures.palette import LIGHT
from matryoshka.storage.atomic import write_atomically

# Okabe and Ito's colours, told apart by anyone; dashes and markers differ as well.
STYLES = (
    (LIGHT.tuned, "-", "o"),
    ("#D55E00", (0, (5, 2)), "s"),
    ("#009E73", (0, (1, 1.4)), "^"),
    ("#8A8A8A", "-.", "D"),
)
WIDE = 6.0  # largest over smallest value from which an axis is logarithmic


def draw(curve: Curve, path: Path) -> Path:
    """Write the curve as a PNG, whole or not at all."""
    figure = Figure(figsize=(8.0, 4.4), dpi=150, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.14, 0.87, 0.67))
    for (name, values), (color, dashes, marker) in zip(curve.lines.items(), STYLES, strict=False):
        points = [(x, y) for x, y in zip(curve.x, values, strict=True) if y is not None]
        axes.plot(*zip(*points, strict=True), color=color, linestyle=dashes, marker=marker, linewidth=2, label=name)
    shown = [y for values in curve.lines.values() for y in values if y is not None]
    if _is_wide(curve.x):
        axes.set_xscale("log", base=2)
    axes.set_xticks(list(curve.x), [f"{x:,.7g}" for x in curve.x])
    if _is_wide(shown):
        axes.set_yscale("log")
        axes.set_ylim(min(shown) / 1.3, max(shown) * 1.3)
        subs = (1.0,) if max(shown) / min(shown) > 1000 else (1.0, 2.0, 5.0)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.minorticks_off()
    axes.set_xlabel(curve.x_label, color=LIGHT.muted)
    axes.set_title(curve.y_label, loc="left", fontsize=9.5, color=LIGHT.muted, pad=6)
    axes.grid(axis="y", color=LIGHT.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=LIGHT.muted)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT.grid)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(curve.lines), borderaxespad=0.2)
    figure.text(0.03, 0.93, curve.title, fontsize=12, fontweight="bold", color=LIGHT.ink, parse_math=False)
    content = io.BytesIO()
    canvas.print_png(content)
    return write_atomically(path, content.getvalue())


def _is_wide(values: Numbers) -> bool:
    return min(values) > 0 and max(values) / min(values) >= WIDE
