"""What a mining came to, in numbers and examples, for every surface to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """A candidate of a row. refused_by: the threshold that it does not pass; empty for a negative."""

    text: str
    rank: int
    score: float
    refused_by: str = ""


@dataclass(frozen=True)
class Sample:
    """A training row to read. row: its number in the source, from 1. refused: of the ranks that are taken from."""

    row: int
    anchor: str
    positive: str
    score: float
    negatives: tuple[Found, ...]
    refused: tuple[Found, ...]


@dataclass(frozen=True)
class Histogram:
    """Scores of positives, negatives and refused candidates, counted between edges."""

    edges: tuple[float, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    refused: tuple[int, ...]


@dataclass(frozen=True)
class MiningResult:
    """data, searched_by, scored_by: names. settings: the thresholds and ranks, as configured.

    rows: training rows; mined: those that have negatives, per_row each; left_out: the others. negatives: distinct ones
    of all rows together, beyond: those of them of further ranks; repeated: those that only fill up a row. candidates:
    distinct passages; held_out: passages besides that equal a right answer of dev or test. considered: candidates in
    the ranks that are taken from; refused: how many of them each threshold refused. random_score: of random pairs, 0
    when rescaled. mean_rank, mean_negative: of the distinct negatives; mean_positive: of the mined rows' positives.
    """

    data: str
    searched_by: str
    scored_by: str
    settings: Mapping[str, Any]
    rows: int
    mined: int
    left_out: int
    per_row: int
    negatives: int
    beyond: int
    repeated: int
    candidates: int
    held_out: int
    considered: int
    refused: Mapping[str, int]
    random_score: float
    mean_rank: float
    mean_positive: float
    mean_negative: float
    histogram: Histogram
    samples: tuple[Sample, ...]
    seconds: float

    @property
    def share_refused(self) -> float:
        """Of the candidates that were considered."""
        return self.share(sum(self.refused.values()))

    def share(self, count: int) -> float:
        """A count as a share of the candidates that were considered."""
        return count / self.considered if self.considered else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "share_refused": self.share_refused}
