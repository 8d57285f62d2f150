"""The axis of a setting that is a number."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from matryoshka.report.figures.palette import Palette
from matryoshka.sweep.effects import as_level

MOST_TICKS = 8  # with more numbers the ticks are round ones


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
