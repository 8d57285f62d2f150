"""The figure of margins: by how much right documents are nearer than wrong ones, before and after training."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from matryoshka.report.figures.axes import frame, name_ends, spaced
from matryoshka.report.figures.metric_figure import headings
from matryoshka.report.figures.palette import Palette, blank
from matryoshka.training.explanation.explanation import Explanation

BEFORE, AFTER = "before", "after"
BOTTOM, WIDTH, LEFTS = 0.14, 0.355, (0.065, 0.55)  # of both axes in the figure


def margins_at_dims(explanation: Explanation, note: str = "", dark: bool = False) -> Figure:
    """Two panels over an axis of doublings: the mean margin, and the share of queries with a negative one.

    note: what a reader must not miss, put under the title. Raises ValueError if no margins were measured.
    """
    if not explanation.after:
        raise ValueError("no margins were measured")
    figure, palette = blank(3.9, dark)
    title = "Margins: the best right document against the nearest wrong one"
    y = headings(figure, title, [], note, (0.9, 0.83), palette)
    both = (explanation.before, explanation.after)
    for left, name, unit in zip(LEFTS, ("mean", "negative"), (1.0, 100.0), strict=True):
        axes = figure.add_axes((left, BOTTOM, WIDTH, y - 0.08 - BOTTOM))
        values = [[unit * getattr(of[dim], name) for dim in sorted(of)] for of in both]
        label = "mean margin, in cosine similarity" if name == "mean" else "% of queries with a wrong document nearest"
        _panel(axes, sorted(explanation.after), values, label, palette)
    return figure


def _panel(axes: Axes, dims: list[int], values: list[list[float]], label: str, palette: Palette) -> None:
    """Both lines over the dims, with their names at the right end."""
    frame(axes, label, palette)
    axes.set_xscale("log", base=2)
    axes.set_xticks(dims, [str(dim) if dim in spaced(dims) else "" for dim in dims])
    axes.minorticks_off()
    axes.set_xlabel("dimensions kept", color=palette.muted)
    looks: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        (BEFORE, palette.base, palette.muted, {"linestyle": (0, (4, 2.5)), "marker": "s", "markersize": 4.5}),
        (AFTER, palette.tuned, palette.tuned, {"linewidth": 2.4, "marker": "o", "markersize": 6.5}),
    )
    ends = []
    for (name, color, text, style), line in zip(looks, values, strict=True):
        axes.plot(dims, line, color=color, **style)
        ends.append((name, line[-1], text))
    axes.margins(x=0.06, y=0.15)
    name_ends(axes, ends, apart=0.09)
