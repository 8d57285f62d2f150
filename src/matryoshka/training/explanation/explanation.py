"""What a training changed: its measures and what they say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from matryoshka.training.explanation.batches import BatchMeasures
from matryoshka.training.explanation.drift import Drift, TextVectors
from matryoshka.training.explanation.findings import Finding, findings
from matryoshka.training.explanation.margins import Margin


@dataclass(frozen=True)
class Snapshot:
    """What is kept of an encoder's embeddings: some of each set's, by name; the margins of the test queries."""

    texts: dict[str, TextVectors] = field(default_factory=dict)
    margins: dict[int, Margin] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """Measures of a training, before and after it.

    drift: of each set, by name. before, after: the margins of the test queries, dim -> Margin; empty where they were
    not measured. batches: None where the training pairs were not looked at. findings: what it all says.
    """

    drift: Mapping[str, Drift]
    before: Mapping[int, Margin]
    after: Mapping[int, Margin]
    batches: BatchMeasures | None
    findings: tuple[Finding, ...]

    @classmethod
    def of(
        cls,
        before: Snapshot,
        after: Snapshot,
        further: Collection[str],
        batches: BatchMeasures | None = None,
        in_use: Collection[str] = (),
    ) -> Explanation:
        """From what is kept of both encoders; of sets and dims those that both have. further: as in `findings`."""
        drift = {name: texts.drift(after.texts[name]) for name, texts in before.texts.items() if name in after.texts}
        both = [dim for dim in before.margins if dim in after.margins]
        first, last = ({dim: of.margins[dim] for dim in both} for of in (before, after))
        return cls(drift, first, last, batches, findings(drift, further, first, last, batches, in_use))

    @property
    def to_do(self) -> tuple[Finding, ...]:
        """The findings that ask to try something."""
        return tuple(finding for finding in self.findings if finding.levers)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
