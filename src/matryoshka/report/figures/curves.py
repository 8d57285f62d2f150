"""The figure of a training: loss, learning rate, gradient norm and what was measured meanwhile, against updates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from matryoshka.evaluation.result import display_name
from matryoshka.report.figures.axes import frame, name_ends
from matryoshka.report.figures.palette import Palette, blank
from matryoshka.training.loss_spikes import LOSS, Spike, loss_spikes

History = Sequence[Mapping[str, float]]
Curve = tuple[list[float], list[float]]  # updates, values
LOGGED = {
    LOSS: "training loss",
    "train/learning_rate": "learning rate",
    "train/gradient_norm": "gradient norm, before clipping",
    "train/masked": "share of candidates that are no negatives",
}
AT_DIM = re.compile(r"(?P<dev>dev/)?(?P<name>.+)/dim_(?P<dim>\d+)")
DRAWN = 1000  # points of a curve; of more, every second, third, ... is drawn
PANEL, LEFT, RIGHT, TOP, BOTTOM = 2.15, 0.075, 0.075, 0.32, 0.5  # height and, in it, room; sides in shares of the width
MARKERS = "osD^vP*X"


def training_curves(
    history: History, metrics: Sequence[str], saved_step: int | None, steps: str = "updates", dark: bool = False
) -> Figure:
    """A panel for each thing logged, and one for each of the metrics with a line a dim; the saved update is marked.

    metrics: as in `ndcg@10`; what was not measured has no panel. Evaluations that chose the checkpoint are `dev/...`
    in the history where these queries are not the reported ones. steps: what the level axis counts. A panel alone has
    the whole width.
    """
    panels = {
        title: curves
        for title, curves in _panels(history, metrics).items()
        if any(steps for steps, _ in curves.values())
    }
    rows = math.ceil(len(panels) / 2) or 1
    figure, palette = blank(PANEL * rows, dark)
    last = max((row["step"] for row in history), default=0)
    for i, (title, curves) in enumerate(panels.items()):
        left, width = LEFT + 0.5 * (i % 2), (0.5 if len(panels) > 1 else 1.0) - LEFT - RIGHT
        bottom = (PANEL * (rows - 1 - i // 2) + BOTTOM) / (PANEL * rows)
        axes = figure.add_axes((left, bottom, width, (PANEL - TOP - BOTTOM) / (PANEL * rows)))
        axes.set_xlim(0, max(last, 1))
        frame(axes, title, palette)
        _draw(axes, curves, palette)
        if title == LOGGED[LOSS]:
            _mark(axes, loss_spikes(history), palette)
        if saved_step is not None:
            axes.axvline(saved_step, color=palette.warning, linewidth=1.4, linestyle=(0, (1, 1.5)), label="saved")
        if i >= len(panels) - 2:
            axes.set_xlabel(steps, color=palette.muted)
    return figure


def _panels(history: History, metrics: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Title -> name of a line -> the line."""
    logged = {title: {"": curve(history, key)} for key, title in LOGGED.items()}
    losses = {f"{LOGGED[LOSS]} of each dim": by_dim(history, LOSS)}
    return logged | losses | {display_name(metric): by_dim(history, metric) for metric in metrics}


def curve(history: History, key: str) -> Curve:
    """Where a thing was logged, and its finite values, thinned out to what a figure can show."""
    found = [(row["step"], row[key]) for row in history if key in row and math.isfinite(row[key])]
    found = found[:: math.ceil(len(found) / DRAWN) or 1]
    return [step for step, _ in found], [value for _, value in found]


def by_dim(history: History, name: str) -> dict[str, Curve]:
    """Dim -> what was logged under this name for it, widest first; of the dev queries if there are any."""
    found = {match[0]: match for row in history for key in row if (match := AT_DIM.fullmatch(key))}
    matches = [match for match in found.values() if match["name"] == name]
    matches = [match for match in matches if match["dev"]] or matches
    matches.sort(key=lambda match: -int(match["dim"]))
    return {match["dim"]: curve(history, match[0]) for match in matches}


def _mark(axes: Axes, spikes: Sequence[Spike], palette: Palette) -> None:
    """A ring around the first row of each spike."""
    if spikes:
        steps, losses = [spike.step for spike in spikes], [spike.loss for spike in spikes]
        rings = axes.plot(steps, losses, "o", markersize=8, label="spikes", clip_on=False)
        rings[0].set(markerfacecolor="none", markeredgecolor=palette.warning, markeredgewidth=1.4)


def _draw(axes: Axes, curves: Mapping[str, Curve], palette: Palette) -> None:
    """One line in the tuned model's colour; of several, one a dim, on a ramp, named at its end."""
    ramp = LinearSegmentedColormap.from_list("dims", palette.from_wide_to_narrow)
    ends = []
    for i, (name, (steps, values)) in enumerate(curves.items()):
        color = mpl.colors.to_hex(ramp(i / max(len(curves) - 1, 1))) if name else palette.tuned
        few = MARKERS[i % len(MARKERS)] if len(steps) <= 25 else None
        axes.plot(steps, values, color=color, linewidth=1.6, marker=few, markersize=3.5, label=name, clip_on=False)
        if name and values:
            ends.append((name, values[-1], color))
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.yaxis.set_major_formatter("{x:.4g}")
    axes.tick_params(labelsize=8.5)
    name_ends(axes, ends, apart=0.11, fontsize=8.5)
