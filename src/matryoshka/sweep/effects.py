"""What each setting of a sweep does to the selecting metric, the others held equal: an additive model."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matryoshka.sweep.ranges import Range, in_ranges, is_number
from matryoshka.sweep.result import JobResult, Sweep

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What one key does.

    levels: each of its values, as text -> how far it lies from the mean of all levels, with the other keys held equal;
    in units of the selecting metric. jobs: level -> done jobs. share: of the variance, what the model explains less
    without this key. separable: false where the jobs do not tell it from other keys that change with it.
    """

    key: str
    levels: Mapping[str, float]
    jobs: Mapping[str, int]
    share: float
    separable: bool = True

    @property
    def span(self) -> float:
        """From the worst level to the best."""
        return max(self.levels.values()) - min(self.levels.values())

    @property
    def best(self) -> str:
        """The level with the highest effect."""
        return max(self.levels, key=lambda level: self.levels[level])


@dataclass(frozen=True)
class MainEffects:
    """The effects of all keys that took two values or more, widest span first.

    jobs: those with a finite value. residual: the share of the variance that no sum of effects explains: interactions
    and chance. spare: jobs beyond the numbers that were fitted; with 0 of them the residual is 0 whatever the truth.
    """

    effects: tuple[Effect, ...]
    jobs: int
    residual: float
    spare: int

    def finding(self) -> str:
        """What matters most, in a sentence or two."""
        first, *others = self.effects
        if first.span < 1e-9 and not self.residual:  # rounding of the fit
            return f"No setting moves the value: it is the same in all {self.jobs} jobs."
        said = f"{first.key} matters most: {_moved(first)}" if others else f"{first.key}: {_moved(first)}"
        if others:
            said += f"; then {', '.join(f'{effect.key} ({effect.span:.4f}, {effect.share:.0%})' for effect in others)}"
        if self.spare:
            said += f". {self.residual:.0%} of the variance is left to interactions and chance."
        else:
            said += ". There are too few jobs to tell these effects from interactions and chance."
        joined = [effect.key for effect in self.effects if not effect.separable]
        if joined:
            said += f" The jobs do not tell the effects of {', '.join(joined)} apart: they change together."
        seed = next((effect for effect in others if effect.key == "seed"), None)
        return said + (f" The seed alone moves it by {seed.span:.4f}: smaller effects are chance." if seed else "")


def main_effects(sweep: Sweep) -> MainEffects | None:
    """The effects on the selecting metric over the done jobs; None where no key took two values.

    A key of many numbers, as a search draws them, has three ranges as its levels: see in_ranges.
    """
    jobs = with_value(in_ranges(sweep))
    return fitted([job.settings for job in jobs], [float(job.value or 0.0) for job in jobs], sweep.keys)


def with_value(sweep: Sweep) -> list[JobResult]:
    """The done jobs whose selecting metric is a finite number, best first."""
    return [job for job in sweep.done if job.value is not None and math.isfinite(job.value)]


def fitted(settings: Sequence[Mapping[str, Any]], values: Sequence[float], keys: Sequence[str]) -> MainEffects | None:
    """The least-squares model value = mean + one effect a key and level, whose levels add up to 0 in each key.

    settings, values: a job each; a key that a job does not have is a level of its own. On a balanced grid an effect is
    the plain mean of a level less the mean of all; on a partial one the other keys are accounted for. Of keys that
    cannot be told apart the solution of least norm shares the effect out. Source: Searle 1971, "Linear Models".
    """
    texts = {key: [as_level(job.get(key)) for job in settings] for key in keys}
    levels = {key: in_order(job.get(key) for job in settings) for key in keys}
    columns = {key: _indicators(texts[key], levels[key]) for key in keys if len(levels[key]) > 1}
    if not columns:
        return None
    values_J = np.asarray(values, dtype=np.float64)
    centred_J = values_J - values_J.mean()
    total = float(centred_J @ centred_J)
    total = total if total > 1e-24 * float(values_J @ values_J) else 0.0  # rounding of the mean
    effects_P, error, rank = _least_squares(columns, centred_J)
    effects, start = [], 1
    for key, own_JL in columns.items():
        own_L = effects_P[start : start + own_JL.shape[1]]
        start += own_JL.shape[1]
        _, without, rank_without = _least_squares({k: c for k, c in columns.items() if k != key}, centred_J)
        share = max(0.0, without - error) / total if total else 0.0
        by_level = dict(zip(levels[key], (own_L - own_L.mean()).tolist(), strict=True))
        separable = rank - rank_without == own_JL.shape[1] - 1
        effects.append(Effect(key, by_level, dict(Counter(texts[key])), share, separable))
    effects.sort(key=lambda effect: -effect.span)
    return MainEffects(tuple(effects), len(values_J), error / total if total else 0.0, len(values_J) - rank)


def as_level(value: Any) -> str:
    """A setting as people write it: 5e-05 -> 5e-5, 0.0001 -> 1e-4, [768, 64] -> 768-64, a range -> 1e-5 to 3e-5."""
    if isinstance(value, Range):
        return f"{as_level(value.low)} to {as_level(value.high)}"
    if isinstance(value, float):
        if 0 < abs(value) < 0.001:
            return np.format_float_scientific(value, trim="-", exp_digits=1)
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return "-".join(map(as_level, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


def in_order(values: Iterable[Any]) -> dict[str, Any]:
    """The different ones as text -> value: numbers and ranges by size, lists by length, then texts."""
    return dict(sorted({as_level(value): value for value in values}.items(), key=_place))


def _place(item: tuple[str, Any]) -> tuple[int, float, str]:
    text, value = item
    if isinstance(value, Range) or is_number(value):
        return 0, value.low if isinstance(value, Range) else value, text
    return (1, len(value), text) if isinstance(value, list | tuple) else (2, 0, text)


def _indicators(texts: Sequence[str], levels: Iterable[str]) -> Floats:
    """1 where a job has the level, (J jobs, L levels)."""
    return np.array([[text == level for level in levels] for text in texts], dtype=np.float64)


def _least_squares(columns: Mapping[str, Floats], values_J: Floats) -> tuple[Floats, float, int]:
    """Coefficients (the mean first), the sum of squared errors, and how many numbers the jobs determine."""
    design_JP = np.hstack([np.ones((len(values_J), 1)), *columns.values()])
    coefficients_P, _, rank, _ = np.linalg.lstsq(design_JP, values_J, rcond=None)
    error_J = values_J - design_JP @ coefficients_P
    return coefficients_P.astype(np.float64), float(error_J @ error_J), int(rank)


def _moved(effect: Effect) -> str:
    worst = min(effect.levels, key=lambda level: effect.levels[level])
    return f"{effect.best} instead of {worst} moves the value by {effect.span:.4f} ({effect.share:.0%} of the variance)"
