"""Learning-rate schedules, transformers' and torch's own. `warmup` below 1 is a share of all updates, else a count."""

from __future__ import annotations

import math
from typing import Annotated, Any, SupportsFloat

from annotated_types import Ge, Gt, Le, Lt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from transformers import optimization

Share = Annotated[float, Ge(0), "{} is negative; use a share below 1 or a number of updates"]
Cycles = Annotated[float, Gt(0), Le(1000), "2"]
Restarts = Annotated[int, Gt(0), Le(1000), "2"]
Power = Annotated[float, Gt(0), Le(100), "2.0"]


def warmup_updates(warmup: float, updates: int) -> int:
    """Updates of warm-up: a share is rounded up, as transformers does. Raises ValueError for a negative one."""
    if warmup < 0:
        raise ValueError(f"warmup={warmup}: give a share below 1 or a number of updates")
    return math.ceil(warmup * updates) if warmup < 1 else int(warmup)


def constant(optimizer: Optimizer, updates: int, warmup: Share = 0.0) -> LambdaLR:
    """The same rate after the warm-up."""
    return optimization.get_constant_schedule_with_warmup(optimizer, warmup_updates(warmup, updates))


def linear(optimizer: Optimizer, updates: int, warmup: Share = 0.1) -> LambdaLR:
    """Down to 0 in a straight line."""
    return optimization.get_linear_schedule_with_warmup(optimizer, warmup_updates(warmup, updates), updates)


def cosine(optimizer: Optimizer, updates: int, warmup: Share = 0.1, cycles: Cycles = 0.5) -> LambdaLR:
    """Down to 0 along half a cosine wave."""
    steps = warmup_updates(warmup, updates)
    return optimization.get_cosine_schedule_with_warmup(optimizer, steps, updates, num_cycles=cycles)


def cosine_with_restarts(optimizer: Optimizer, updates: int, warmup: Share = 0.1, cycles: Restarts = 2) -> LambdaLR:
    """Half cosine waves to 0, starting anew `cycles` times."""
    steps = warmup_updates(warmup, updates)
    return optimization.get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, steps, updates, num_cycles=cycles)


def polynomial(optimizer: Optimizer, updates: int, warmup: Share = 0.1, power: Power = 2.0) -> LambdaLR:
    """Down to 0 along a polynomial."""
    steps = warmup_updates(warmup, updates)
    return optimization.get_polynomial_decay_schedule_with_warmup(optimizer, steps, updates, lr_end=0.0, power=power)


def inverse_square_root(optimizer: Optimizer, updates: int, warmup: Share = 0.1) -> LambdaLR:
    """Rate / sqrt(update / warm-up): never reaches 0, so a run can be prolonged."""
    return optimization.get_inverse_sqrt_schedule(optimizer, warmup_updates(warmup, updates))


def warmup_stable_decay(optimizer: Optimizer, updates: int, warmup: Share = 0.1, decay: Share = 0.2) -> LambdaLR:
    """Constant after the warm-up, then down to 0 in the last `decay` (a share or a number of updates)."""
    steps, last = warmup_updates(warmup, updates), warmup_updates(decay, updates)
    return optimization.get_wsd_schedule(optimizer, steps, last, num_training_steps=updates)


def reduce_on_plateau(
    optimizer: Optimizer,
    updates: int,
    warmup: Share = 0.1,
    factor: Annotated[float, Gt(0), Lt(1), "{} does not lower the rate; use for example 0.5"] = 0.5,
    patience: Annotated[int, Ge(0), "{} is negative; use 0 or more"] = 0,
    threshold: Annotated[float, Ge(0), "{} is negative; use 0 or more"] = 0.001,
) -> PlateauAfterWarmup:
    """The same rate until the selecting metric stagnates, then `factor` of it, and so on.

    It stagnates where more than `patience` evaluations in a row are not better by `threshold` than the best before.
    """
    return PlateauAfterWarmup(
        optimizer, warmup_updates(warmup, updates), factor=factor, patience=patience, threshold=threshold
    )


class PlateauAfterWarmup(ReduceLROnPlateau):
    """torch's ReduceLROnPlateau of a metric that should rise, after a linear warm-up of so many updates.

    Evaluations within the warm-up do not count. options: torch's; threshold is a difference of the metric.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, **options: Any) -> None:
        super().__init__(optimizer, mode="max", threshold_mode="abs", **options)
        self.warmup = warmup
        self.updates = 0
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self._warm_up()

    def step(self, metrics: SupportsFloat | None = None) -> None:  # type: ignore[override]  # as in torch
        """After an update, without a metric; after an evaluation, with the metric's value."""
        if metrics is None:
            self.updates += 1
            self._warm_up()
        elif self.updates >= self.warmup:
            super().step(metrics)

    def _warm_up(self) -> None:
        if self.warmup and self.updates <= self.warmup:
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = peak * self.updates / self.warmup
            self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
