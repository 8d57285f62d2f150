"""What the measures of a training say, a sentence each, and what to try where one of them is bad."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matryoshka.training.explanation.batches import NEAR_ZERO, BatchMeasures
from matryoshka.training.explanation.drift import Drift
from matryoshka.training.explanation.margins import Margin

LEAST_COSINE = 0.95  # of a text of a further set with itself, before and after
MOST_FALSE_NEGATIVES = 0.01  # share of candidates
MOST_EASY = 0.5  # share of batches
LEAST_GRADIENT_COSINE = 0.0
MOST_MORE_NEGATIVE = 0.01  # share of queries that a wrong document came nearer to at a narrow dim

AGAINST_DRIFT = ("a lower optimizer.lr", "blend=start", "callbacks=[default,moving_average]")
AGAINST_FALSE_NEGATIVES = ("negatives=guide",)
AGAINST_EASY_BATCHES = ("a larger batch_size with pairs_at_once", "task=mine")
AGAINST_CONFLICT = ("projection=learned", "dim_weights", "loss=distilled")
AGAINST_LOST_MARGINS = ("projection=learned", "loss=distilled")
TARGETS = {  # a choice of a group -> how the name of its class ends
    "blend=start": ("blend", ".Blend"),
    "negatives=guide": ("negatives", ".Guide"),
    "projection=learned": ("projection", ".Learned"),
    "loss=distilled": ("loss", "DistilledLoss"),
}


@dataclass(frozen=True)
class Finding:
    """A sentence with its figure; levers: what to try, nothing where nothing is wrong."""

    measure: str
    said: str
    levers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The sentence and what to do."""
        return f"{self.said}: " + (f"try {' or '.join(self.levers)}" if self.levers else "nothing to do")


def levers_in_use(config: Mapping[str, Any]) -> frozenset[str]:
    """The levers that a run's configuration has chosen already."""
    found = {lever for lever, (group, ending) in TARGETS.items() if _target(config.get(group)).endswith(ending)}
    parts = (config.get("callbacks") or {}).values()
    if any(_target(part).endswith(".MovingAverage") for part in parts):
        found.add("callbacks=[default,moving_average]")
    return frozenset(found)


def findings(
    drift: Mapping[str, Drift],
    further: Collection[str],
    before: Mapping[int, Margin],
    after: Mapping[int, Margin],
    batches: BatchMeasures | None,
    in_use: Collection[str] = (),
) -> tuple[Finding, ...]:
    """One of each measure that there is. further: the names of further sets. in_use: levers that are not named."""

    def found(measure: str, said: str, bad: bool, levers: tuple[str, ...]) -> Finding:
        left = tuple(lever for lever in levers if lever not in in_use)
        return Finding(measure, said, (left or ("another setting of what is in use",)) if bad else ())

    return tuple(found(*each) for each in _each(drift, further, before, after, batches))


def _each(
    drift: Mapping[str, Drift],
    further: Collection[str],
    before: Mapping[int, Margin],
    after: Mapping[int, Margin],
    batches: BatchMeasures | None,
) -> Iterator[tuple[str, str, bool, tuple[str, ...]]]:
    if elsewhere := {name: of for name, of in drift.items() if name in further}:
        name = min(elsewhere, key=lambda name: elsewhere[name].worse[1])
        side, cosine = elsewhere[name].worse
        said = f"{side} of the further set {name} have a mean cosine of {cosine:.3f} with themselves before training"
        yield "drift", said, cosine < LEAST_COSINE, AGAINST_DRIFT
    elif "test" in drift:
        side, cosine = drift["test"].worse
        said = (
            f"test {side} have a mean cosine of {cosine:.3f} with themselves before training, and there is no further"
        )
        yield "drift", f"{said} set (sets=...) to say what that costs elsewhere", False, ()
    if after:
        narrow = sorted(after)[: max(1, len(after) - 1)]
        dim = max(narrow, key=lambda dim: after[dim].negative - before[dim].negative)
        shares = f"for {after[dim].negative:.1%} of the queries, {before[dim].negative:.1%} before training"
        worse = after[dim].negative - before[dim].negative > MOST_MORE_NEGATIVE
        yield "margins", f"at dim {dim} a wrong document is nearest {shares}", worse, AGAINST_LOST_MARGINS
    if batches:
        yield from _of_batches(batches)


def _of_batches(batches: BatchMeasures) -> Iterator[tuple[str, str, bool, tuple[str, ...]]]:
    share = batches.false_negatives
    said = f"{share:.2%} of the candidates that count as negatives are about as near as the positive before training"
    yield "negatives", said, share > MOST_FALSE_NEGATIVES, AGAINST_FALSE_NEGATIVES
    share = max(batches.easy_before, batches.easy_after)
    shares = f"{batches.easy_before:.0%} of the batches before training and {batches.easy_after:.0%} after it"
    said = f"{shares} have a loss below {NEAR_ZERO:g} a dim"
    yield "batches", said, share > MOST_EASY, AGAINST_EASY_BATCHES
    if batches.lowest:
        dim, other, cosine = batches.lowest
        said = f"the gradients of dims {dim} and {other} have a cosine of {cosine:.3f}, the lowest of all pairs"
        yield "gradients", said, cosine < LEAST_GRADIENT_COSINE, AGAINST_CONFLICT


def _target(node: Any) -> str:
    return str(node.get("_target_", "")) if isinstance(node, Mapping) else ""
