"""What the doctor found in the columns of the training pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CopyCounts:
    """How many are copies of another: letter for letter, and after normalising, which counts the exact ones too."""

    exact: int
    normalised: int


@dataclass(frozen=True)
class TextPlace:
    """A text of the training pairs; rows are numbered from 1."""

    row: int
    column: str
    text: str


@dataclass(frozen=True)
class TextPlaces:
    """How many there are, and the first of them."""

    count: int
    examples: tuple[TextPlace, ...]


@dataclass(frozen=True)
class RepeatedText:
    """A text of one column, normalised, that several rows have: how many, and the first of them."""

    rows: int
    first: TextPlace


@dataclass(frozen=True)
class NearPair:
    """Two training texts of one column that nearly are copies: the later one, the earlier one, their Jaccard index."""

    later: TextPlace
    earlier: TextPlace
    jaccard: float


@dataclass(frozen=True)
class NearCopies:
    """How many distinct texts of a column are near copies of an earlier one, and the first of them."""

    texts: int
    examples: tuple[NearPair, ...]


@dataclass(frozen=True)
class Lengths:
    """Tokens a text. cut: texts as long as the limit, so cut there or just fitting. edges: of the bins, one more."""

    mean: float
    longest: int
    cut: int
    cut_share: float
    edges: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Languages:
    """Languages of a sample. short, unsure: texts that were not judged. shares: of the judged; language -> share."""

    sampled: int
    short: int
    unsure: int
    judged: int
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """One column of the training pairs.

    distinct: texts that differ in any letter. copies: rows whose text an earlier row has. near_copies, languages: None
    where they were not asked for. wordless: texts without a letter or digit. most_repeated: the most frequent copies.
    """

    distinct: int
    copies: CopyCounts
    most_repeated: tuple[RepeatedText, ...]
    wordless: TextPlaces
    lengths: Lengths
    near_copies: NearCopies | None = None
    languages: Languages | None = None
