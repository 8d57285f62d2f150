"""The figures of a sweep's settings: a heat map over two keys, and lines along a key of numbers."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from matryoshka.report.figures.axes import frame, name_ends
from matryoshka.report.figures.palette import WIDTH, Palette, blank
from matryoshka.report.sweep.sweep_table import state
from matryoshka.report.sweep.sweep_verdict import selected_words
from matryoshka.sweep.effects import as_level, in_order, with_value
from matryoshka.sweep.ranges import in_ranges
from matryoshka.sweep.result import JobResult, Sweep

SMALLEST_SPAN = 0.02  # of the colours and the value axis, so that noise does not look like a landslide
LONGEST = 26  # characters of a level beside an axis
MARKERS = "osD^vP*X"
MOST_TICKS = 8  # with more numbers the ticks are round ones


def heat_map(sweep: Sweep, x_key: str, y_key: str, dark: bool = False) -> Figure:
    """The selecting metric at each pair of levels, the best over what else differs; the best cell has a frame.

    Many numbers stand in ranges, as in the effects.
    """
    sweep = in_ranges(sweep)
    xs, ys = (in_order(job.settings.get(key) for job in sweep.jobs) for key in (x_key, y_key))
    best = best_of(sweep, (x_key, y_key))
    lines = [f"{selected_words(sweep.selected)}, {over_the_others(sweep, (x_key, y_key))}"]
    first = with_value(sweep)[0]
    title = f"Best at {' and '.join(f'{key} {as_level(first.settings.get(key))}' for key in (x_key, y_key))}"
    top = 1.0 + 0.62 * len(ys)
    figure, palette = sheet(top, title, lines, sweep.stand_in, dark)
    left = 0.35 + 0.082 * max(len(shortened(level)) for level in [*ys, y_key])
    axes = figure.add_axes(_box(figure, left, 0.6, WIDTH - 0.25, top - 0.3))
    values_YX = np.array([[_value(best.get((x, y))) for x in xs] for y in ys])
    low, high = np.nanmin(values_YX), np.nanmax(values_YX)
    ramp = LinearSegmentedColormap.from_list("values", (palette.raised, palette.tuned))
    low = min(low, high - SMALLEST_SPAN)
    axes.pcolormesh(np.ma.masked_invalid(values_YX), cmap=ramp, vmin=low, vmax=high, edgecolors=palette.paper, lw=2)
    for (row, column), value in np.ndenumerate(values_YX):
        pair = list(xs)[column], list(ys)[row]
        strong = np.isfinite(value) and value > (low + high) / 2
        label = axes.text(column + 0.5, row + 0.5, _cell(sweep, (x_key, y_key), pair, value), ha="center", va="center")
        label.set(color=palette.paper if strong else palette.ink if np.isfinite(value) else palette.muted, fontsize=9.5)
        if best.get(pair) is first:
            label.set_fontweight("bold")
            axes.add_patch(mpl.patches.Rectangle((column, row), 1, 1, fill=False, edgecolor=palette.warning, lw=2.2))
    _level_axes(axes, x_key, list(xs), y_key, list(ys), palette)
    return figure


def lines_along(sweep: Sweep, x_key: str, line_key: str | None, dark: bool = False) -> Figure:
    """The selecting metric along a key of numbers, the best over what else differs; a line a level of another key.

    Every job is a dot. The axis of numbers that grow by factors, such as rates, is logarithmic.
    """
    keys = (x_key,) if line_key is None else (x_key, line_key)
    jobs, best = with_value(sweep), best_of(sweep, keys)
    numbers = in_order(job.settings[x_key] for job in jobs)
    dots = "; dots: all jobs" if len(best) < len(jobs) else ""
    lines = [f"{selected_words(sweep.selected)}, {over_the_others(sweep, keys)}{dots}"]
    by = "" if line_key is None else f", a line for each {line_key}"
    figure, palette = sheet(3.4, f"Along {x_key}{by}", lines, sweep.stand_in, dark)
    names = [""] if line_key is None else list(in_order(job.settings.get(line_key) for job in jobs))
    room = 0.25 + 0.088 * max(len(shortened(name)) for name in names)
    axes = figure.add_axes(_box(figure, 0.75, 0.6, WIDTH - room, 3.1))
    number_axis(axes, x_key, numbers, palette)
    _value_axis(axes, [_value(job) for job in jobs], selected_words(sweep.selected), palette)
    axes.scatter([job.settings[x_key] for job in jobs], [_value(job) for job in jobs], s=9, color=palette.base, lw=0)
    ends = []
    colors = (palette.tuned, *palette.others)
    for i, name in enumerate(names):
        found = [(numbers[x], best[key]) for x in numbers if (key := (x,) if line_key is None else (x, name)) in best]
        color, marker = colors[i % len(colors)], MARKERS[i % len(MARKERS)]
        (line,) = axes.plot([x for x, _ in found], [_value(job) for _, job in found], label=name, linewidth=2)
        line.set(color=color, marker=marker, linestyle="-" if i < len(colors) else "--")
        if name:
            ends.append((shortened(name), _value(found[-1][1]), color))
    name_ends(axes, ends, apart=0.075)
    return figure


def sheet(
    height: float, title: str, lines: Sequence[str], stand_in: Sequence[str], dark: bool
) -> tuple[Figure, Palette]:
    """An empty figure with its headings, and its colours; `height` inches are left below them.

    stand_in: what nobody may miss, in bold.
    """
    titles = textwrap.wrap(title, 68)
    notes = [part for line in lines for part in textwrap.wrap(line, 105)]
    missed = [part for sentence in stand_in for part in textwrap.wrap(f"stand-in: {sentence}", 95)]
    whole = height + 0.2 + 0.27 * len(titles) + 0.2 * len(notes + missed)
    figure, palette = blank(whole, dark)
    y = whole - 0.2
    for text, size, weight, color, step in [
        *((part, 14.5, "bold", palette.ink, 0.27) for part in titles),
        *((part, 9.5, "normal", palette.muted, 0.2) for part in notes),
        *((part, 9.5, "bold", palette.muted, 0.2) for part in missed),
    ]:
        figure.text(0.025, y / whole, text, fontsize=size, fontweight=weight, color=color, va="top", parse_math=False)
        y -= step
    return figure, palette


def best_of(sweep: Sweep, keys: Sequence[str]) -> dict[tuple[str, ...], JobResult]:
    """Levels of these keys -> the best job that has them."""
    return {tuple(as_level(job.settings.get(key)) for key in keys): job for job in reversed(with_value(sweep))}


def over_the_others(sweep: Sweep, keys: Sequence[str]) -> str:
    """What stands for the jobs that agree in these keys, in words."""
    others = [key for key in sweep.keys if key not in keys]
    if others:
        return f"the best over {', '.join(others)}"
    return "one job each" if len(best_of(sweep, keys)) == len(with_value(sweep)) else "the best of several jobs"


def shortened(level: str) -> str:
    """A level that fits beside an axis."""
    return level if len(level) <= LONGEST else f"{level[: LONGEST - 3]}..."


def _value(job: JobResult | None) -> float:
    return float("nan") if job is None or job.value is None else job.value


def _box(figure: Figure, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
    """Inches from the left and from below as shares of the figure: left, bottom, width, height."""
    width, height = figure.get_size_inches()
    return left / width, bottom / height, (right - left) / width, (top - bottom) / height


def _cell(sweep: Sweep, keys: tuple[str, str], pair: tuple[str, str], value: float) -> str:
    """A value; without one, what became of the jobs there."""
    if np.isfinite(value):
        return f"{value:.3f}"
    states = {state(job) for job in sweep.jobs if tuple(as_level(job.settings.get(key)) for key in keys) == pair}
    return ", ".join(sorted(states - {"done"}))


def _level_axes(axes: Axes, x_key: str, xs: list[str], y_key: str, ys: list[str], palette: Palette) -> None:
    frame(axes, "", palette)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    for axis, levels in ((axes.xaxis, xs), (axes.yaxis, ys)):
        axis.set_ticks([i + 0.5 for i in range(len(levels))], [shortened(level) for level in levels])
        for label in axis.get_ticklabels():
            label.set(parse_math=False, color=palette.ink)
    axes.set_xlabel(x_key, color=palette.muted, parse_math=False)
    axes.set_title(y_key, loc="left", x=-0.005, ha="right", fontsize=9.5, color=palette.muted, pad=5, parse_math=False)


def _value_axis(axes: Axes, values: Sequence[float], name: str, palette: Palette) -> None:
    low, high = min(values), max(values)
    slack = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    axes.set_ylim(low - slack - 0.1 * (high - low), high + slack + 0.1 * (high - low))
    axes.margins(x=0.06)
    frame(axes, name, palette)


def number_axis(axes: Axes, key: str, numbers: Mapping[str, float], palette: Palette) -> None:
    """Ticks and name of an axis along which numbers of a setting lie, text -> number, ascending.

    It is logarithmic for numbers that grow by factors, such as rates.
    """
    by_factors = _uneven(np.array(list(numbers.values()))) or key.endswith("lr")
    low, high = min(numbers.values()), max(numbers.values())
    if by_factors and low > 0:
        axes.set_xscale("log")
    if len(numbers) <= MOST_TICKS:
        axes.set_xticks(list(numbers.values()), list(numbers))
    else:  # their names would overlap
        decades = math.log10(high / low) if axes.get_xscale() == "log" else 0
        by_decade = LogLocator(subs=(1, 2, 5) if decades < 3 else (1,))
        axes.xaxis.set_major_locator(by_decade if decades > 1 else MaxNLocator(MOST_TICKS))
        axes.xaxis.set_major_formatter(lambda number, _: as_level(float(f"{number:.4g}")))
    axes.minorticks_off()
    axes.set_xlabel(key, color=palette.muted, parse_math=False)


def _uneven(numbers_N: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Whether ascending numbers lie more evenly by their logarithm than as they are."""
    if len(numbers_N) < 3 or numbers_N[0] <= 0:
        return False
    plain_N, logs_N = np.diff(numbers_N), np.diff(np.log(numbers_N))
    return bool(logs_N.max() / logs_N.min() < plain_N.max() / plain_N.min())
