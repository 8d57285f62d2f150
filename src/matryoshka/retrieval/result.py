"""The one result that table, card, figure, W&B and files show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of one model on one retrieval set, per dim; names as in `ndcg@10`.

    tokens: of all distinct texts. seconds: what encoding and searching took; of embeddings that were found again, what
    encoding took when it was done. precision: fp32 or bf16, of the encoder's forward pass.
    """

    model: str
    data: str
    queries: int
    documents: int
    width: int
    metrics: Mapping[int, Mapping[str, float]]
    precision: str = "fp32"
    tokens: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def dims(self) -> list[int]:
        """The dims measured, widest first."""
        return sorted(self.metrics, reverse=True)

    def flat(self) -> dict[str, float]:
        """`ndcg@10/dim_256` -> value, for every metric and dim."""
        return {f"{name}/dim_{dim}": value for dim in self.dims for name, value in self.metrics[dim].items()}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; keys of dims are strings."""
        plain = asdict(self)
        plain["metrics"] = {str(dim): dict(self.metrics[dim]) for dim in self.dims}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EvaluationResult:
        """The result of which as_dict gave this."""
        metrics = {int(dim): dict(values) for dim, values in plain["metrics"].items()}
        return cls(**{**plain, "metrics": metrics})
