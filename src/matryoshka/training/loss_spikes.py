"""Loss spikes: rows whose training loss is far above that of the rows before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

LOSS = "train/loss"
RECENT, FEWEST = 50, 10  # logged rows that a loss is compared with; with fewer than so many it is not
DEVIATIONS = 8.0  # standard deviations, of a normal distribution with this MAD
OF_MEDIAN = 0.25  # and at least so much above: a loss that hardly moves has hardly a deviation
TO_DEVIATION = 1.4826  # a normal distribution's standard deviation, in MADs


@dataclass(frozen=True)
class Spike:
    """A logged row whose loss stood out. usual: the median of the rows before it."""

    step: int
    loss: float
    usual: float

    def __str__(self) -> str:
        return f"update {self.step:,}: {self.loss:.4g}, where {self.usual:.4g} was usual"


def loss_spikes(history: Sequence[Mapping[str, float]], *, last: bool = False) -> list[Spike]:
    """Each spike's first row. A loss is one if it is above the median of the rows before by many deviations.

    The deviation is taken from the median absolute deviation, which a spike before does not move. last: only whether
    the newest row begins one.
    """
    rows = [row for row in history if LOSS in row]
    start = max(1, len(rows) - 1) if last else 1
    found = [(_spike(rows, i), _spike(rows, i - 1)) for i in range(start, len(rows))]
    return [spike for spike, before in found if spike and not before]


def _spike(rows: Sequence[Mapping[str, float]], i: int) -> Spike | None:
    recent = [row[LOSS] for row in rows[max(0, i - RECENT) : i]]
    if len(recent) < FEWEST:
        return None
    usual = median(recent)
    deviation = TO_DEVIATION * median(abs(loss - usual) for loss in recent)
    stands_out = rows[i][LOSS] - usual > max(DEVIATIONS * deviation, OF_MEDIAN * abs(usual))
    return Spike(int(rows[i]["step"]), rows[i][LOSS], usual) if stands_out else None
