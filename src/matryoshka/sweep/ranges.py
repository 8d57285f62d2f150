"""A setting of many different numbers, as a search draws them, in a few ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matryoshka.sweep.result import Sweep

MOST_NUMBERS = 8  # of a key whose values are looked at one by one
RANGES = 3  # few, so that a search of 20 trials has jobs to spare


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both among them."""

    low: float
    high: float


def in_ranges(sweep: Sweep) -> Sweep:
    """The sweep with the range of a job's value in place of the value, for every key of many numbers.

    The ranges are thirds by rank of the different values of all jobs, those without a result too.
    """
    settings = [dict(job.settings) for job in sweep.jobs]
    for key in keys_in_ranges(sweep):
        found = thirds([job[key] for job in settings])
        for job in settings:
            job[key] = next(part for part in found if job[key] <= part.high)
    jobs = (replace(job, settings=changed) for job, changed in zip(sweep.jobs, settings, strict=True))
    return replace(sweep, jobs=tuple(jobs))


def keys_in_ranges(sweep: Sweep) -> tuple[str, ...]:
    """The keys that are numbers in all jobs, many different ones, and most of them of one job alone.

    Seeds are none of them: near ones have nothing in common.
    """
    return tuple(key for key in sweep.keys if key != "seed" and _many([job.settings.get(key) for job in sweep.jobs]))


def thirds(numbers: Sequence[float]) -> list[Range]:
    """By rank of the different ones, ascending."""
    parts = np.array_split(sorted(set(numbers)), RANGES)
    return [Range(part[0].item(), part[-1].item()) for part in parts]


def is_number(value: Any) -> bool:
    """Whether a setting can stand on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _many(values: Sequence[Any]) -> bool:
    return all(map(is_number, values)) and len(set(values)) > max(MOST_NUMBERS, len(values) / 2)
