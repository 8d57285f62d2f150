"""What a benchmark found: shown on the terminal, and written as JSON for docs/benchmarks.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Numbers = Sequence[float]


@dataclass(frozen=True)
class Comparison:
    """One job on both sides, repeat by repeat.

    ours, theirs: the same unit. `more_is_better` as for pairs/s; not for seconds or MB. agreement: what was compared
    and how far it differs. target: the ratio to reach, None where this machine's kind has none.
    """

    job: str
    unit: str
    ours: Numbers
    theirs: Numbers
    more_is_better: bool
    agreement: str
    target: float | None = None

    @property
    def ratios(self) -> list[float]:
        """How many times as good we are, a repeat each."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [a / b if self.more_is_better else b / a for a, b in pairs]


@dataclass(frozen=True)
class Fact:
    """A figure with no other side. limit: what it should not exceed (or, with at_least, not fall below)."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False


@dataclass(frozen=True)
class Curve:
    """Lines over one x; an empty place is None. name: of the figure's file."""

    name: str
    title: str
    x_label: str
    y_label: str
    x: Numbers
    lines: dict[str, list[float | None]]


@dataclass
class Record:
    """All that one benchmark found. notes: sentences for the page, such as a profile's rows."""

    title: str
    comparisons: list[Comparison] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self) -> None:
        """Print every figure."""
        for row in self.comparisons:
            ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
            low, high, middle = min(row.ratios), max(row.ratios), statistics.median(row.ratios)
            target = "" if row.target is None else f"; to reach: {row.target:g}"
            print(f"\n{row.job}\n  sentence-transformers  {theirs:10.4g} {row.unit}")
            print(f"  matryoshka             {ours:10.4g} {row.unit}")
            repeats = f"{len(row.ours)} repeat{'s' if len(row.ours) > 1 else ''}"
            print(f"  ratio                  {middle:10.2f} ({low:.2f} to {high:.2f}, {repeats}{target})")
            print(f"  agreement              {row.agreement}")
        for fact in self.facts:
            word = "at least" if fact.at_least else "at most"
            limit = "" if fact.limit is None else f" ({word} {fact.limit:g} {fact.unit})"
            print(f"{fact.name}: {fact.value:.4g} {fact.unit}{limit}")
        for curve in self.curves:
            print(f"\n{curve.title}\n  {curve.x_label:>28}  " + "  ".join(f"{x:>9g}" for x in curve.x))
            for name, values in curve.lines.items():
                shown = "  ".join(f"{'' if v is None else format(v, '.3g'):>9}" for v in values)
                print(f"  {name:>28}  {shown}")
        for note in self.notes:
            print(note)

    def write(self, path: Path | None) -> None:
        """Write the JSON, where one was asked for."""
        if path is not None:
            path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Record:
        """What `write` wrote."""
        plain = json.loads(path.read_text())
        return cls(
            plain["title"],
            [Comparison(**row) for row in plain["comparisons"]],
            [Fact(**row) for row in plain["facts"]],
            [Curve(**row) for row in plain["curves"]],
            plain["notes"],
        )


@dataclass
class Run:
    """One run of all benchmarks. precision: what the machine does best, and why; seconds and failed: by script."""

    date: str
    environment: dict[str, str]
    capability: str
    precision: str
    reason: str
    sentence_transformers: str
    quick: bool
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """run.json in the folder."""
        (folder / "run.json").write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Run:
        """What `write` wrote."""
        return cls(**json.loads((folder / "run.json").read_text(encoding="utf-8")))
