"""A schedule before the run: the rate of every update, from the optimizer and the schedule that will train."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRScheduler]


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
