"""One model on several sets: each set's result, their mean as a result of its own, and the worst set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.several_sets import mean_result


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
        parts = {name: sets[name] for name in sorted(sets)}
        digest = hashlib.sha256("\n".join(part.fingerprint for part in parts.values()).encode()).hexdigest()
        mean = replace(mean_result(f"{len(parts)} set{'s' * (len(parts) > 1)}", digest, parts), parts={})
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
