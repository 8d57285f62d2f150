"""The one result that table, card, figure, W&B and files show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matryoshka.evaluation.protocols import Rankings

Metrics = Mapping[int, Mapping[str, float]]
Intervals = Mapping[int, Mapping[str, tuple[float, float]]]
BY_DIM = ("metrics", "merged", "expected", "intervals", "merged_intervals")
NAMES = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP"}
NO_DIM = 0  # the dim of a ranking that has no embeddings, such as BM25's


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of one model on one retrieval set: dim -> name, as in `ndcg@10` -> mean over queries.

    metrics: as is, every id is a document of its own. merged: copies are one document (texts equal but for case, spaces
    and punctuation). expected: as is, the mean over all orders of equally similar documents. ceiling: as is, what a
    perfect retriever gets, who cannot tell copies apart either; merged_ceiling: the same, merged. intervals,
    merged_intervals: of 95%, by bootstrap. copies: documents that another one before them equals. clusters: groups of
    queries that share an answer. tokens: of all distinct texts. seconds: what encoding and searching took; of
    embeddings that were found again, what encoding took when it was done. precision: fp32 or bf16, of the encoder's
    forward pass. fingerprint: of the set. rankings: every query; neither compared nor written as JSON. parts: of a mean
    over several sets, each one's own result by name.
    """

    model: str
    data: str
    queries: int
    documents: int
    width: int
    metrics: Metrics
    merged: Metrics = field(default_factory=dict)
    expected: Metrics = field(default_factory=dict)
    ceiling: Mapping[str, float] = field(default_factory=dict)
    merged_ceiling: Mapping[str, float] = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)
    merged_intervals: Intervals = field(default_factory=dict)
    copies: int = 0
    clusters: int = 0
    precision: str = "fp32"
    tokens: int = 0
    seconds: float = field(default=0.0, compare=False)
    fingerprint: str = ""
    rankings: Rankings | None = field(default=None, compare=False, repr=False)
    parts: Mapping[str, EvaluationResult] = field(default_factory=dict)

    @property
    def dims(self) -> list[int]:
        """The dims measured, widest first."""
        return sorted(self.metrics, reverse=True)

    def flat(self, part: str = "") -> dict[str, float]:
        """`ndcg@10/dim_256` -> value, for every metric and dim; `merged/ndcg@10/dim_256` too where there are copies.
        Those of each of several sets as `<name>/ndcg@10/dim_256`.

        part: put in front of each name, such as `dev/`.
        """
        flat = {f"{part}{name}/dim_{dim}": value for dim in self.dims for name, value in self.metrics[dim].items()}
        if self.copies:
            flat |= {f"{part}merged/{n}/dim_{dim}": v for dim in self.merged for n, v in self.merged[dim].items()}
        for name, result in self.parts.items():
            flat |= result.flat(f"{part}{name}/")
        return flat

    def value(self, name: str) -> float:
        """One figure by its name: `ndcg@10/dim_256`, or over all dims `ndcg@10/mean`, `/worst` or `/retention`.

        retention: the mean of metric * metric / metric of the widest dim, so what a dim keeps is its own weight. With
        `merged/` in front it is that of merged copies. Raises KeyError for what was not measured.
        """
        protocol = self.merged if name.startswith("merged/") else self.metrics
        metric, _, over = name.removeprefix("merged/").partition("/")
        if over.startswith("dim_"):
            return protocol[int(over.removeprefix("dim_"))][metric]
        values = [protocol[dim][metric] for dim in self.dims]
        full = values[0] or 1.0
        means = {"mean": values, "worst": [min(values)], "retention": [value * value / full for value in values]}
        return sum(means[over]) / len(means[over])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; keys of dims are strings."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("rankings", "parts")}
        if self.parts:
            plain["parts"] = {name: result.as_dict() for name, result in self.parts.items()}
        for name in BY_DIM:
            plain[name] = {str(dim): dict(plain[name][dim]) for dim in sorted(plain[name], reverse=True)}
        for name in ("intervals", "merged_intervals"):
            plain[name] = {d: {n: list(ends) for n, ends in values.items()} for d, values in plain[name].items()}
        return plain | {"ceiling": dict(self.ceiling), "merged_ceiling": dict(self.merged_ceiling)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EvaluationResult:
        """The result of which as_dict gave this; of what an older one does not have, nothing."""
        by_dim: dict[str, Any] = {n: {int(d): dict(v) for d, v in plain.get(n, {}).items()} for n in BY_DIM}
        for name in ("intervals", "merged_intervals"):
            by_dim[name] = {d: {n: (e[0], e[1]) for n, e in v.items()} for d, v in by_dim[name].items()}
        parts = {name: cls.from_dict(of) for name, of in plain.get("parts", {}).items()}
        return cls(**{**plain, **by_dim, "parts": parts})


@dataclass(frozen=True)
class SetResults:
    """A model on a further evaluation set, before and after training. base: None of a model that is measured alone."""

    base: EvaluationResult | None
    tuned: EvaluationResult

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; without the base where there is none."""
        return ({"base": self.base.as_dict()} if self.base else {}) | {"tuned": self.tuned.as_dict()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> SetResults:
        """The results of which as_dict gave this."""
        base = EvaluationResult.from_dict(plain["base"]) if "base" in plain else None
        return cls(base, EvaluationResult.from_dict(plain["tuned"]))


def selecting_metric(select: str, dims: Sequence[int]) -> str:
    """The full name of a selecting metric: `ndcg@10` is that of the widest dim, `ndcg@10/dim_768`."""
    complete = "/" in select.removeprefix("merged/")
    return select if complete else f"{select}/dim_{max(dims)}"


def display_name(metric: str) -> str:
    """A metric's name as the field writes it: `ndcg@10` -> nDCG@10."""
    name, at, k = metric.partition("@")
    return f"{NAMES.get(name, name)}{at}{k}"


def lexical(results: Sequence[EvaluationResult]) -> EvaluationResult | None:
    """Of several results the one that has no embeddings, such as BM25's."""
    return next((result for result in results if NO_DIM in result.metrics), None)


def shown_metric(result: EvaluationResult) -> str:
    """The metric that stands for a result: nDCG@10 where it was measured, else the first."""
    names = list(result.metrics[result.dims[0]])
    return "ndcg@10" if "ndcg@10" in names else names[0]
