"""What a model gained on one set, query by query, against another on the same queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from matryoshka.evaluation.protocols import Rankings
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.uncertainty import Floats, Ints, stratified_intervals


@dataclass(frozen=True)
class Gain:
    """A difference of means over queries, and its interval of 95%, paired; None if all queries are one cluster."""

    value: float
    interval: tuple[float, float] | None

    @classmethod
    def each(cls, *sets: tuple[Floats, Ints]) -> list[Gain]:
        """From what each query gains, one of each of M columns; of several sets the mean over them.

        sets: difference_QM and clusters_Q of each.
        """
        ends_M2 = np.stack(stratified_intervals(sets), axis=1)
        values_M = sum(difference_QM.mean(axis=0) for difference_QM, _ in sets) / len(sets)
        found = zip(np.atleast_1d(values_M).tolist(), ends_M2.tolist(), strict=True)
        return [cls(value, None if math.isnan(low) else (low, high)) for value, (low, high) in found]

    @property
    def above(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.interval is not None and self.interval[1] < 0

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.above or self.below

    def __str__(self) -> str:
        """With sign and interval: `+.012 (+.004 to +.020)`."""
        ends = "" if self.interval is None else f" ({_signed(self.interval[0])} to {_signed(self.interval[1])})"
        return f"{_signed(self.value)}{ends}"


@dataclass(frozen=True)
class Gains:
    """The gains in one metric on one set: at each dim, widest first, and in the mean over dims."""

    metric: str
    by_dim: Mapping[int, Gain]
    mean: Gain

    @property
    def worst(self) -> int:
        """The dim that gained least."""
        return min(self.by_dim, key=lambda dim: self.by_dim[dim].value)


def gains(before: EvaluationResult, after: EvaluationResult, metric: str) -> Gains | None:
    """What came from before to after at the dims of both; None where either has no rankings (see EvaluationResult)."""
    dims = [dim for dim in after.dims if dim in before.metrics]
    sets = [(before.parts[name], part) for name, part in after.parts.items()] or [(before, after)]
    columns = []
    for one, other in sets:
        if one.rankings is None or other.rankings is None:
            return None
        difference_QD = _values_QD(other.rankings, dims, metric) - _values_QD(one.rankings, dims, metric)
        mean_Q1 = difference_QD.mean(axis=1, keepdims=True)
        columns.append((np.concatenate([difference_QD, mean_Q1], axis=1), one.rankings.clusters_Q.numpy()))
    *by_dim, mean = Gain.each(*columns)
    return Gains(metric, dict(zip(dims, by_dim, strict=True)), mean)


def _values_QD(rankings: Rankings, dims: Sequence[int], metric: str) -> Floats:
    return np.stack([rankings.as_is[dim].values[metric].numpy() for dim in dims], axis=1)


def gains_by_set(
    metric: str, before_and_after: Mapping[str, tuple[EvaluationResult, EvaluationResult]]
) -> dict[str, Gains]:
    """The gains of each set by name, of those that have rankings."""
    found = {name: gains(before, after, metric) for name, (before, after) in before_and_after.items()}
    return {name: of for name, of in found.items() if of}


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)
