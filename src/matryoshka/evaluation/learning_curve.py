"""What more training pairs are worth: a metric at every number of pairs and dim, and what that asks for next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from matryoshka.evaluation.gains import Gain
from matryoshka.evaluation.result import display_name
from matryoshka.evaluation.uncertainty import Floats, Ints, bootstrap_intervals

Interval = tuple[float, float]
Verdict = Literal["more pairs", "wider dims", "neither"]
KEPT = 0.95  # of the widest dim's metric: a dim that keeps less is called narrow


@dataclass(frozen=True)
class CurvePoint:
    """What so many pairs give. values, intervals: by dim, over the test queries; an interval is None where all queries
    share answers. mean: over the dims."""

    share: float
    pairs: int
    values: Mapping[int, float]
    intervals: Mapping[int, Interval | None]
    mean: float


@dataclass(frozen=True)
class LearningCurve:
    """The metric at each number of pairs, fewest first, and what its end says.

    last: the gain of the mean over dims from the last but one number to the last. cut: what the narrowest dim has less
    than the widest with all pairs. kept: dim -> its metric / the widest dim's, there.
    """

    metric: str
    points: tuple[CurvePoint, ...]
    last: Gain
    cut: Gain
    kept: Mapping[int, float]

    @property
    def dims(self) -> list[int]:
        """Widest first."""
        return sorted(self.kept, reverse=True)

    @property
    def doublings(self) -> float:
        """Of the number of pairs, over the last step."""
        return math.log2(self.points[-1].pairs / self.points[-2].pairs)

    @property
    def next_doubling(self) -> float:
        """What another doubling gives if it goes on like the last step: a curve that flattens gives less."""
        return self.last.value / self.doublings

    @property
    def narrow(self) -> list[int]:
        """Dims that keep too little of the widest."""
        return [dim for dim in self.dims if self.kept[dim] < KEPT]

    @property
    def verdict(self) -> Verdict:
        """more pairs: the last step's gain has an interval above 0. wider dims: not so, and the narrowest dim keeps
        under 95% of the widest, with an interval of the loss below 0. Else neither."""
        if self.last.above:
            return "more pairs"
        return "wider dims" if self.cut.below and self.dims[-1] in self.narrow else "neither"

    @property
    def finding(self) -> str:
        """The verdict with its reasons, in one line."""
        first, second = (f"{point.pairs:,}" for point in self.points[-2:])
        name, widest, narrowest = display_name(self.metric), self.dims[0], self.dims[-1]
        step = f"from {first} to {second} pairs {name} over all dims changes by {_told(self.last)}"
        if self.verdict == "more pairs":
            return f"more pairs: {step}; another doubling gives about {_signed(self.next_doubling)}, rather less"
        if self.verdict == "wider dims":
            kept = ", ".join(f"{dim} keep {self.kept[dim]:.1%}" for dim in self.narrow)
            return f"wider dims: {step}, which shows no gain; of {widest} numbers' {name} {kept}"
        kept = f"; {narrowest} numbers keep {self.kept[narrowest]:.1%} of {widest}'s" if widest != narrowest else ""
        return f"neither: {step}, which shows no gain{kept}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; keys of dims are strings."""
        plain = asdict(self)
        for holder in (plain, *plain["points"]):
            for name in ("values", "intervals", "kept"):
                if name in holder:
                    holder[name] = {str(dim): value for dim, value in holder[name].items()}
        said = {"verdict": self.verdict, "finding": self.finding, "next_doubling": self.next_doubling}
        return said | {"narrow_dims": self.narrow} | plain


def learning_curve(
    metric: str, shares: Mapping[float, int], dims: Sequence[int], values_SQD: Floats, clusters_Q: Ints
) -> LearningCurve:
    """The curve of S >= 2 shares of the pairs, fewest first.

    shares: share -> pairs. dims: from wide to narrow. values_SQD: the metric of each query. clusters_Q: queries of
    equal number share an answer. Every interval is by bootstrap over them.
    """
    points = []
    for (share, pairs), values_QD in zip(shares.items(), values_SQD, strict=True):
        ends = np.stack(bootstrap_intervals(values_QD, clusters_Q), axis=1).tolist()
        intervals = {dim: None if math.isnan(low) else (low, high) for dim, (low, high) in zip(dims, ends, strict=True)}
        values = dict(zip(dims, values_QD.mean(axis=0).tolist(), strict=True))
        points.append(CurvePoint(share, pairs, values, intervals, float(values_QD.mean())))
    mean_SQ, all_QD, full = values_SQD.mean(axis=2), values_SQD[-1], points[-1].values[dims[0]]
    columns_QM = np.stack([mean_SQ[-1] - mean_SQ[-2], all_QD[:, -1] - all_QD[:, 0]], axis=1)
    last, cut = Gain.each((columns_QM, clusters_Q))
    return LearningCurve(
        metric,
        tuple(points),
        last=last,
        cut=cut,
        kept={dim: points[-1].values[dim] / full if full else 1.0 for dim in dims},
    )


def _told(difference: Gain) -> str:
    """+0.012 (95%: +0.004 to +0.020)."""
    if difference.interval is None:
        return f"{_signed(difference.value)} (no interval: all queries share answers)"
    low, high = map(_signed, difference.interval)
    return f"{_signed(difference.value)} (95%: {low} to {high})"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
