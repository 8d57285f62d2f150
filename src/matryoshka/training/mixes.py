"""Which weighted means of several models' weights are tried, and what they came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

Weights = tuple[float, ...]
Value = Callable[["Mix"], float]
SHARES = (0.75, 0.5, 0.25)  # of the first of two models, where no blend says others


@dataclass(frozen=True)
class Mix:
    """A weighted mean of models that may be kept. weights: one a model; None: the untrained encoder instead."""

    name: str
    weights: Weights | None
    value: float = 0.0

    @classmethod
    def of(cls, weights: Sequence[float], labels: Sequence[str]) -> Mix:
        """With its name in words: `a`, `0.25 a + 0.75 b`, `mean of a, b, c`."""
        there = [(weight, label) for weight, label in zip(weights, labels, strict=True) if weight]
        name = " + ".join(f"{weight:.4g} {label}" for weight, label in there)
        if len(there) == 1:
            name = there[0][1]
        elif len(there) > 2 and len({weight for weight, _ in there}) == 1:
            name = f"mean of {', '.join(label for _, label in there)}"
        return cls(name, tuple(weights))

    @property
    def untrained(self) -> bool:
        """Whether it is the untrained encoder alone."""
        return self.weights is None


@dataclass(frozen=True)
class MixOutcome:
    """What the mixes came to. sources: the models, as they were named. kept: one of the candidates.

    refused: name of a candidate -> why it was not kept. given: whether the weights were given, and so not found;
    remark: then what a further set has against them.
    """

    metric: str
    sources: tuple[str, ...]
    candidates: tuple[Mix, ...]
    kept: Mix
    refused: Mapping[str, str] = field(default_factory=dict)
    given: bool = False
    remark: str = ""

    @property
    def weights(self) -> dict[str, float]:
        """What each model has to do with what was kept: its weight, 0 of one that was left out."""
        return dict(zip(self.sources, self.kept.weights or [0.0] * len(self.sources), strict=True))

    @property
    def said(self) -> str:
        """What was kept, beside the others, and what kept better ones from it."""
        others = ", ".join(f"{other.name} {other.value:.4f}" for other in self.candidates if other != self.kept)
        kept = f"{self.kept.name}{', as given' if self.given else ''}"
        kept += f": no mix {'that is allowed ' if self.refused else ''}is better" if self.kept.untrained else ""
        values = f"{kept}: {self.metric} {self.kept.value:.4f} on the choosing queries"
        said = [f"{values} ({others})" if others else values, *self.refused.values(), self.remark]
        return "; ".join(part for part in said if part)


def tried(labels: Sequence[str], shares: Sequence[float], value: Value) -> list[Mix]:
    """The mixes of these models with their values; of equal ones the one to prefer first.

    Two models: the first one's shares beside 1 and 0 (Wortsman et al. 2022, arXiv:2109.01903). More: the greedy soup.
    """
    if len(labels) > 2:
        return greedy_soup(labels, value)
    mixes = (Mix.of((share, 1 - share), labels) for share in (1.0, *sorted(shares, reverse=True), 0.0))
    return [replace(mix, value=value(mix)) for mix in mixes]


def greedy_soup(labels: Sequence[str], value: Value) -> list[Mix]:
    """Each model alone, and uniform means: the best model, to which each next best is added where nothing falls.

    Source: Wortsman et al. 2022, arXiv:2203.05482. The soup is the best of what is returned: what was not added fell.
    """
    alone = [replace(mix, value=value(mix)) for mix in _each(labels)]
    order = sorted(range(len(labels)), key=lambda model: -alone[model].value)
    soup, best, means = order[:1], alone[order[0]].value, list[Mix]()
    for model in order[1:]:
        mean = uniform([*soup, model], labels)
        mean = replace(mean, value=value(mean))
        means.append(mean)
        if mean.value >= best:
            soup, best = [*soup, model], mean.value
    return [*reversed(means), *alone]


def uniform(models: Sequence[int], labels: Sequence[str]) -> Mix:
    """The plain mean of the models with these numbers."""
    return Mix.of([1 / len(models) if model in models else 0.0 for model in range(len(labels))], labels)


def _each(labels: Sequence[str]) -> Iterator[Mix]:
    for model in range(len(labels)):
        yield uniform([model], labels)


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """The last part of each name, of a run's `model` folder that of the run; whole names where these are not enough."""
    parts = [[part for part in name.split("/") if part] for name in names]
    short = [part[-2] if part[-1:] == ["model"] and len(part) > 1 else part[-1] for part in parts]
    return tuple(short if len(set(short)) == len(short) else names)
