"""Learning-rate schedules, transformers' own, by updates. `warmup` below 1 is a share of all updates, else a count."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import optimization


def warmup_updates(warmup: float, updates: int) -> int:
    """Updates of warm-up: a share is rounded up, as transformers does. Raises ValueError for a negative one."""
    if warmup < 0:
        raise ValueError(f"warmup={warmup}: give a share below 1 or a number of updates")
    return math.ceil(warmup * updates) if warmup < 1 else int(warmup)


def constant(optimizer: Optimizer, updates: int, warmup: float = 0.0) -> LambdaLR:
    """The same rate after the warm-up."""
    return optimization.get_constant_schedule_with_warmup(optimizer, warmup_updates(warmup, updates))


def linear(optimizer: Optimizer, updates: int, warmup: float = 0.1) -> LambdaLR:
    """Down to 0 in a straight line."""
    return optimization.get_linear_schedule_with_warmup(optimizer, warmup_updates(warmup, updates), updates)


def cosine(optimizer: Optimizer, updates: int, warmup: float = 0.1, cycles: float = 0.5) -> LambdaLR:
    """Down to 0 along half a cosine wave."""
    steps = warmup_updates(warmup, updates)
    return optimization.get_cosine_schedule_with_warmup(optimizer, steps, updates, num_cycles=cycles)


def cosine_with_restarts(optimizer: Optimizer, updates: int, warmup: float = 0.1, cycles: int = 2) -> LambdaLR:
    """Half cosine waves to 0, starting anew `cycles` times."""
    steps = warmup_updates(warmup, updates)
    return optimization.get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, steps, updates, num_cycles=cycles)


def polynomial(optimizer: Optimizer, updates: int, warmup: float = 0.1, power: float = 2.0) -> LambdaLR:
    """Down to 0 along a polynomial."""
    steps = warmup_updates(warmup, updates)
    return optimization.get_polynomial_decay_schedule_with_warmup(optimizer, steps, updates, lr_end=0.0, power=power)


def inverse_square_root(optimizer: Optimizer, updates: int, warmup: float = 0.1) -> LambdaLR:
    """Rate / sqrt(update / warm-up): never reaches 0, so a run can be prolonged."""
    return optimization.get_inverse_sqrt_schedule(optimizer, warmup_updates(warmup, updates))


def warmup_stable_decay(optimizer: Optimizer, updates: int, warmup: float = 0.1, decay: float = 0.2) -> LambdaLR:
    """Constant after the warm-up, then down to 0 in the last `decay` (a share or a number of updates)."""
    steps, last = warmup_updates(warmup, updates), warmup_updates(decay, updates)
    return optimization.get_wsd_schedule(optimizer, steps, last, num_training_steps=updates)
