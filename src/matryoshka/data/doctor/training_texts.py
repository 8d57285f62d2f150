"""What the doctor finds in the columns of the training pairs, and how: copies, words, lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matryoshka.data.copies import WORD
from matryoshka.data.doctor.near_copies import NearTexts

BINS = 30

Rows = Mapping[str, Sequence[str]]


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


def copies(items: Sequence[object], normal: Sequence[object]) -> CopyCounts:
    """How many of the items an earlier one equals, as they are and normalised."""
    return CopyCounts(len(items) - len(set(items)), len(normal) - len(set(normal)))


def most_repeated(column: str, texts: Sequence[str], normal: Sequence[str], examples: int) -> tuple[RepeatedText, ...]:
    """The most frequent of the normalised texts that several rows have, the first of equals."""
    found = [(text, rows) for text, rows in Counter(normal).most_common(examples) if rows > 1]
    return tuple(RepeatedText(rows, _place(column, texts, normal.index(text))) for text, rows in found)


def wordless(column: str, texts: Sequence[str], examples: int) -> TextPlaces:
    """Texts without a letter, digit or underscore."""
    return _places(column, texts, [row for row, text in enumerate(texts) if not WORD.search(text)], examples)


def same_pairs(texts: Rows, normal: Rows, examples: int) -> TextPlaces:
    """Rows whose anchor is their positive, normalised."""
    pairs = zip(normal["anchor"], normal["positive"], strict=True)
    same = [row for row, (anchor, positive) in enumerate(pairs) if anchor == positive]
    return _places("anchor", texts["anchor"], same, examples)


def near_copies(column: str, texts: Sequence[str], normal: Sequence[str], near: NearTexts, examples: int) -> NearCopies:
    """Distinct texts, normalised, that nearly are an earlier one."""
    first: dict[str, int] = {}
    found = []
    for row, text in enumerate(normal):
        if text in first:
            continue
        first[text] = row
        if nearest := near.nearest(text):
            found.append((row, first[nearest[0]], nearest[1]))
        near.add(text)
    pairs = [NearPair(_place(column, texts, a), _place(column, texts, b), index) for a, b, index in found[:examples]]
    return NearCopies(len(found), tuple(pairs))


def lengths(tokens: npt.NDArray[np.integer], max_seq_length: int) -> Lengths:
    """Tokens of each text in equal bins of whole tokens; those as long as the limit count as cut."""
    longest = int(tokens.max(initial=0))
    width = max(1, -(-(longest + 1) // BINS))
    edges = np.arange(0, longest + 1 + width, width)
    cut = int((tokens >= max_seq_length).sum())
    return Lengths(
        mean=float(tokens.mean()) if len(tokens) else 0.0,
        longest=longest,
        cut=cut,
        cut_share=cut / max(1, len(tokens)),
        edges=tuple(edges.tolist()),
        counts=tuple(np.histogram(tokens, edges)[0].tolist()),
    )


def _places(column: str, texts: Sequence[str], rows: Sequence[int], examples: int) -> TextPlaces:
    return TextPlaces(len(rows), tuple(_place(column, texts, row) for row in rows[:examples]))


def _place(column: str, texts: Sequence[str], row: int) -> TextPlace:
    return TextPlace(row + 1, column, texts[row])
