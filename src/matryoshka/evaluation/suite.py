"""One model on several sets: each set's result, their mean as a result of its own, and the worst set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from matryoshka.evaluation.protocols import Rankings
from matryoshka.evaluation.result import EvaluationResult, Intervals, Metrics
from matryoshka.evaluation.uncertainty import Floats, stratified_intervals


@dataclass(frozen=True)
class SuiteResult:
    """A model's results on several sets, by name, measured with the same metrics at the same dims.

    mean: its metrics are the means over the sets, each of which counts alike however many queries it has, as in
    NanoBEIR and in sentence-transformers' NanoBEIREvaluator; their intervals are those of `stratified_intervals`;
    counts, tokens and seconds are sums. missing: sets that could not be had, and why. baselines: others on these sets.
    """

    sets: Mapping[str, EvaluationResult]
    mean: EvaluationResult
    missing: Mapping[str, str]
    baselines: tuple[SuiteResult, ...] = ()

    @classmethod
    def of(cls, sets: Mapping[str, EvaluationResult], missing: Mapping[str, str] | None = None) -> SuiteResult:
        """From each set's result, at least one. Intervals only where all have rankings; their order changes nothing."""
        parts = [sets[name] for name in sorted(sets)]
        first, intervals = parts[0], _intervals(parts)
        digest = hashlib.sha256("\n".join(part.fingerprint for part in parts).encode()).hexdigest()
        mean = EvaluationResult(
            model=first.model,
            data=f"{len(parts)} sets" if len(parts) > 1 else "1 set",
            queries=sum(part.queries for part in parts),
            documents=sum(part.documents for part in parts),
            width=first.width,
            metrics=_by_dim([part.metrics for part in parts]),
            merged=_by_dim([part.merged for part in parts]),
            expected=_by_dim([part.expected for part in parts]),
            ceiling=_mean([part.ceiling for part in parts]),
            merged_ceiling=_mean([part.merged_ceiling for part in parts]),
            intervals=intervals["as_is"],
            merged_intervals=intervals["merged"],
            copies=sum(part.copies for part in parts),
            clusters=sum(part.clusters for part in parts),
            precision=first.precision,
            tokens=sum(part.tokens for part in parts),
            seconds=sum(part.seconds for part in parts),
            fingerprint=digest,
        )
        return cls(dict(sets), mean, dict(missing or {}))

    def worst(self, metric: str, dim: int) -> str:
        """The name of the set where the metric is lowest at this dim; of equal ones the first."""
        return min(self.sets, key=lambda name: self.sets[name].metrics[dim][metric])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the mean and every set's own result have files of their own."""
        worst = {
            str(dim): {
                metric: {"set": (name := self.worst(metric, dim)), "value": self.sets[name].metrics[dim][metric]}
                for metric in self.mean.metrics[dim]
            }
            for dim in self.mean.dims
        }
        return {"sets": list(self.sets), "missing": dict(self.missing), "worst": worst}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every figure of every model, set and dim, a row each with its interval; means are those of the set `mean`."""
        for suite in (self, *self.baselines):
            for name, of in {**suite.sets, "mean": suite.mean}.items():
                for dim, metric, value in ((d, *item) for d in of.dims for item in of.metrics[d].items()):
                    low, high = of.intervals.get(dim, {}).get(metric, ("", ""))
                    place = {"set": name, "model": of.model, "queries": of.queries, "documents": of.documents}
                    yield {**place, "dim": dim, "metric": metric, "value": value, "low": low, "high": high}


def _mean(parts: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: math.fsum(part[name] for part in parts) / len(parts) for name in parts[0]}


def _by_dim(parts: list[Metrics]) -> dict[int, dict[str, float]]:
    return {dim: _mean([part[dim] for part in parts]) for dim in parts[0]}


def _intervals(parts: list[EvaluationResult]) -> dict[str, Intervals]:
    """Of each protocol the intervals of every mean at every dim, all from the same resamples."""
    found: dict[str, dict[int, dict[str, tuple[float, float]]]] = {"as_is": {}, "merged": {}}
    rankings = [part.rankings for part in parts if part.rankings]
    if len(rankings) < len(parts):
        return dict(found)
    places = [(protocol, dim, name) for protocol in found for dim in parts[0].dims for name in parts[0].metrics[dim]]
    sets = [(_values(of, places), of.clusters_Q.numpy()) for of in rankings]
    ends = np.stack(stratified_intervals(sets), axis=1).tolist()
    for (protocol, dim, name), (low, high) in zip(places, ends, strict=True):
        if math.isfinite(low):
            found[protocol].setdefault(dim, {})[name] = low, high
    return dict(found)


def _values(rankings: Rankings, places: list[tuple[str, int, str]]) -> Floats:
    """What each query has at each of the places, protocol, dim and metric, (Q, M)."""
    protocols = {"as_is": rankings.as_is, "merged": rankings.merged}
    return np.stack([protocols[protocol][dim].values[name].numpy() for protocol, dim, name in places], axis=1)
