"""A schedule before the run, and its figure: the rate of every update, from optimizer and schedule that will train."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from matryoshka.report.figures.axes import frame
from matryoshka.report.figures.palette import Palette, blank

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRScheduler]
NAMED = 12  # evaluations whose epoch is written beside their rule; of more, every second, third, ...
STEPS = 60  # updates up to which each is drawn as a step: more would only look frayed
HEIGHT = 4.4  # inches


@dataclass(frozen=True)
class Schedule:
    """The rate that each update uses; where a metric decides, the most that it can be.

    full: the rate of the optimizer itself. lowest: the rates if the metric never rises; None where no metric decides.
    """

    name: str
    full: float
    rates: tuple[float, ...]
    lowest: tuple[float, ...] | None = None

    @classmethod
    def planned(
        cls,
        name: str,
        make_optimizer: MakeOptimizer,
        make_scheduler: MakeScheduler,
        updates: int,
        evaluations: Collection[int] = (),
    ) -> Schedule:
        """Step a schedule through a run without a model. evaluations: the updates after which one follows."""
        optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
        full = float(optimizer.param_groups[0]["lr"])
        scheduler = make_scheduler(optimizer, updates)
        rates = _stepped(optimizer, scheduler, updates)
        if not isinstance(scheduler, ReduceLROnPlateau):
            return cls(name, full, rates)
        optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
        return cls(name, full, rates, _stepped(optimizer, make_scheduler(optimizer, updates), updates, evaluations))

    @property
    def peak(self) -> float:
        """The highest rate."""
        return max(self.rates)

    @property
    def warmup(self) -> int:
        """Updates before the first at the highest rate."""
        return self.rates.index(self.peak)


def _stepped(
    optimizer: Optimizer, scheduler: LRScheduler, updates: int, stagnating: Collection[int] = ()
) -> tuple[float, ...]:
    """The rate of each update; stagnating: the updates after which the schedule sees the same metric again."""
    rates = []
    for update in range(1, updates + 1):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
        if update in stagnating:
            scheduler.step(0)
    return tuple(rates)


def shown(rate: float) -> str:
    """A rate as a person writes it: 8e-5, not 8e-05; 1e-3, not 0.001."""
    if not 0 < rate < 0.01:
        return f"{rate:.3g}"
    digits, exponent = f"{rate:.2e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def schedule_figure(schedule: Schedule, evaluations: Sequence[int], dark: bool = False) -> Figure:
    """The rate of every update, with the warm-up shaded and a rule at each evaluation.

    evaluations: the updates after which one follows, one an epoch.
    """
    figure, palette = blank(HEIGHT, dark)
    figure.text(0.025, 1 - 0.36 / HEIGHT, heading(schedule), fontsize=14.5, fontweight="bold", color=palette.ink)
    figure.text(0.025, 1 - 0.6 / HEIGHT, _subtitle(schedule, evaluations), fontsize=9.5, color=palette.muted)
    axes = figure.add_axes((0.085, 0.12, 0.86, 0.64))
    updates = len(schedule.rates)
    axes.set(xlim=(0.5 - 0.01 * updates, updates + 0.5), ylim=(-0.03 * schedule.peak, 1.18 * schedule.peak))
    frame(axes, "", palette)
    axes.set_title("learning rate", loc="left", fontsize=9.5, color=palette.muted, pad=18)  # above those of epochs
    axes.yaxis.set_major_formatter(lambda rate, _: shown(rate))
    axes.set_xlabel("updates", color=palette.muted)
    _warmup(axes, schedule, palette)
    _evaluations(axes, evaluations, palette)
    _line(axes, schedule, palette.tuned)
    _points(axes, schedule, palette)
    return figure


def heading(schedule: Schedule) -> str:
    """The schedule in one line."""
    first, peak, last = (shown(rate) for rate in (schedule.rates[0], schedule.peak, schedule.rates[-1]))
    if schedule.lowest:
        after = "falling where the metric stagnates"
    elif last == peak:
        after = "and stays there" if schedule.warmup else "throughout"
    else:
        after = f"down to {last}"
    start = f"from {first} to {peak}" if schedule.warmup else peak
    return f"{schedule.name.replace('_', ' ').capitalize()}: {start}{' ' if after == 'throughout' else ', '}{after}"


def _subtitle(schedule: Schedule, evaluations: Sequence[int]) -> str:
    epochs = "1 evaluation at the end" if len(evaluations) == 1 else f"{len(evaluations):,} evaluations, one an epoch"
    may = "; the rate falls no further than the shaded area" if schedule.lowest else ""
    return f"{len(schedule.rates):,} updates, {epochs}{may}"


def _line(axes: Axes, schedule: Schedule, color: str) -> None:
    """The rate of each update. Where a metric decides, what it can be is shaded."""
    updates = range(1, len(schedule.rates) + 1)
    style = "steps-mid" if len(updates) <= STEPS else "default"
    axes.plot(updates, schedule.rates, drawstyle=style, color=color, linewidth=2.4, label=schedule.name)
    if schedule.lowest:
        axes.fill_between(updates, schedule.lowest, schedule.rates, step="mid", color=color, alpha=0.16, linewidth=0)
        below = [low if low < rate else math.nan for low, rate in zip(schedule.lowest, schedule.rates, strict=True)]
        axes.plot(updates, below, drawstyle="steps-mid", color=color, linewidth=1.2, linestyle=(0, (1, 1.5)))


def _warmup(axes: Axes, schedule: Schedule, palette: Palette) -> None:
    if not schedule.warmup:
        return
    axes.axvspan(axes.get_xlim()[0], schedule.warmup + 0.5, color=palette.raised, linewidth=0, zorder=0)
    middle = schedule.warmup / 2 + 0.5
    narrow = schedule.warmup < 0.12 * len(schedule.rates)
    label = axes.annotate(f"warm-up, {schedule.warmup:,}", (schedule.warmup + 0.5 if narrow else middle, 0))
    label.set(ha="left" if narrow else "center", va="bottom", fontsize=8.5, color=palette.muted)
    label.xyann = (5 if narrow else 0, 3)
    label.anncoords = "offset points"
    label.set_path_effects([withStroke(linewidth=2.5, foreground=palette.paper if narrow else palette.raised)])


def _evaluations(axes: Axes, evaluations: Sequence[int], palette: Palette) -> None:
    every, dashes = math.ceil(len(evaluations) / NAMED), (0, (4, 2.5))
    strength = 1.0 if every == 1 else 0.4
    for epoch, update in enumerate(evaluations, start=1):
        axes.axvline(update + 0.5, color=palette.base, linewidth=0.9, linestyle=dashes, zorder=1, alpha=strength)
        if epoch % every == 0 or epoch == len(evaluations):
            text = f"epoch {epoch}" if len(evaluations) <= 6 else str(epoch)
            label = axes.annotate(text, (update + 0.5, 1), xycoords=("data", "axes fraction"))
            label.set(ha="right" if len(evaluations) <= 6 else "center", va="bottom", fontsize=8.5, color=palette.muted)


def _points(axes: Axes, schedule: Schedule, palette: Palette) -> None:
    """The first rate, the highest and the last, each at its update; one that is the same is not said again."""
    updates, peak = len(schedule.rates), schedule.warmup + 1
    places = {peak: (0, 8, "center")}
    if peak > 1 + 0.02 * updates:
        places[1] = (8, -3, "left")
    if not schedule.lowest and (schedule.rates[-1] < schedule.peak or peak == 1) and peak < 0.9 * updates:
        places[updates] = (-4, 8, "right")
    for update, (x, y, align) in places.items():
        rate = schedule.rates[update - 1]
        axes.plot([update], [rate], marker="o", markersize=6, color=palette.tuned, clip_on=False, zorder=5)
        if not rate:  # the axis says it
            continue
        align = "left" if update < 0.06 * updates else align
        label = axes.annotate(shown(rate), (update, rate), xytext=(x, y), textcoords="offset points")
        label.set(ha=align, va="bottom", color=palette.tuned, fontsize=10, fontweight="bold")
        label.set_path_effects([withStroke(linewidth=2.5, foreground=palette.paper)])
