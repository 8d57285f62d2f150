"""The choice among weights: what the choosing queries like best, and no further set forbids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.evaluation.result import Metrics
from matryoshka.tasks.baselines import Before, measure_sets
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring


class Measured(Protocol):
    """Weights that may be kept, with what they are worth on the choosing queries."""

    @property
    def name(self) -> str:
        """In words."""

    @property
    def value(self) -> float:
        """The selecting metric on the choosing queries."""

    @property
    def untrained(self) -> bool:
        """Whether they are the untrained encoder's, without a projection."""


AnyCandidate = TypeVar("AnyCandidate", bound=Measured)


@dataclass(frozen=True)
class Limit:
    """What weights may cost on the further sets, against the untrained encoder: the recipe's blend.at_most."""

    recipe: TrainingRecipe
    data: TrainingData
    before: Before

    def over(self, candidate: Measured, measuring: Measuring) -> str | None:
        """By how much the candidate loses too much on a further set, in words; None if it does not."""
        at_most = self.recipe.blend.at_most if self.recipe.blend else None
        if at_most is None or candidate.untrained:
            return None
        metric = self.recipe.evaluator.metric
        for name, result in measure_sets(self.data.sets, measuring).items():
            lost = _lost(self.before.sets[name].metrics, result.metrics, metric, result.dims)
            dim = max(lost, key=lambda dim: lost[dim])
            if lost[dim] > at_most:
                return f"it loses {lost[dim]:.4f} at dim {dim} of the set {name}, over blend.at_most={at_most:g}"
        return None


def best_allowed(
    candidates: Sequence[AnyCandidate], use: Callable[[AnyCandidate], Measuring], limit: Limit
) -> tuple[AnyCandidate, Measuring, dict[str, str]]:
    """The best that no further set forbids; of equal ones the first. The encoder has its weights afterwards.

    use: gives the encoder a candidate's weights, and returns how to measure them. Returns the candidate, how to
    measure it, and of each better one why it was not kept. One of them has to be allowed: the untrained encoder is.
    """
    refused: dict[str, str] = {}
    for candidate in sorted(candidates, key=lambda one: -one.value):
        measuring = use(candidate)
        if why := limit.over(candidate, measuring):
            refused[candidate.name] = f"not {candidate.name}: {why}"
            continue
        return candidate, measuring, refused
    raise AssertionError("the untrained encoder loses nothing to itself")


def _lost(before: Metrics, after: Metrics, metric: str, dims: Sequence[int]) -> dict[int, float]:
    return {dim: before[dim][metric] - after[dim][metric] for dim in dims}
