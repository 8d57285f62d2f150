"""Which columns are the anchor, what answers it and what does not: those that are named, or known by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from annotated_types import Ge, Le

from matryoshka.data.reading.rows import missing_column
from matryoshka.errors import DataError

NegativesPerRow = Annotated[int, Ge(0), Le(1000), "7"]
PAIRS = (
    ("query", "pos"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("question", "positive"),
    ("question", "answer"),
    ("question", "passage"),
    ("query", "answer"),
    ("query", "passage"),
    ("query", "document"),
    ("sentence1", "sentence2"),
)
FLAG_EMBEDDING = PAIRS[0]
# Lists to draw from, beside columns of the first text of each (see pools), and a teacher's scores of their texts.
POSITIVES, NEGATIVES = "positives", "negatives"
SCORES = {POSITIVES: "positives_teacher", NEGATIVES: "negatives_teacher"}
SCORE = "score"
PROMPT = "prompt"  # of FlagEmbedding rows: what stands in front of the query
LISTS = (POSITIVES, NEGATIVES, *SCORES.values(), PROMPT)
Told = Callable[[str], None]
NEGATIVE = re.compile(r"(?:neg|negatives?)_?(\d*)")


@dataclass(frozen=True)
class Wanted:
    """What a source's arguments say of its columns. negatives: None for those that are known by their names.

    numbers: as of PairFiles. label, threshold: see labelled. negatives_per_row: see pools; None for a usual number.
    """

    anchor: str = "anchor"
    positive: str = "positive"
    negatives: Sequence[str] | None = ()
    numbers: Sequence[str] = ()
    label: str | None = None
    threshold: float | None = None
    negatives_per_row: int | None = None

    @classmethod
    def of(cls, source: object) -> Wanted:
        """What a source says that has such arguments."""
        return cls(**{field.name: getattr(source, field.name) for field in fields(cls) if hasattr(source, field.name)})


@dataclass(frozen=True)
class Layout:
    """Columns by what they are. kind: in words, of columns that were not named; label: says of a pair if it is one.

    unread: a column of scores that nothing is made of.
    """

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    label: str | None = None
    kind: str = ""
    unread: str | None = None

    @property
    def said(self) -> str:
        """What a run's first lines say of it; empty where all columns were named."""
        columns = [self.anchor, self.positive, *self.negatives, *([self.label] if self.label else [])]
        read = f"read as {self.kind} ({', '.join(_shortened(columns))})" if self.kind else ""
        unread = f"column {self.unread!r} is not read; data.label={self.unread} takes it" if self.unread else ""
        return "; ".join(filter(None, (read, unread)))


def layout_of(columns: Sequence[str], wanted: Wanted, origin: str) -> Layout:
    """The columns of a table. Where anchor and positive, the usual names, are wanted and missing, others may do.

    Raises DataError where two pairs of known names are there.
    """
    anchor, positive = wanted.anchor, wanted.positive
    named = {anchor, positive} <= set(columns) or (anchor, positive) != ("anchor", "positive")
    found = [] if named else [pair for pair in PAIRS if set(pair) <= set(columns)]
    if len(found) > 1:
        names = ", ".join(dict.fromkeys(name for pair in found for name in pair))
        raise DataError(f"{origin} has {names}; say which are meant: data.anchor={found[0][0]} data.positive=...")
    anchor, positive = found[0] if found else (anchor, positive)
    negatives = _negatives(columns, (anchor, positive)) if wanted.negatives is None else tuple(wanted.negatives)
    usual = (anchor, positive) == ("anchor", "positive")
    label = wanted.label or (_label(columns, (anchor, positive)) if found or usual else None)
    kind = ""
    if found or (wanted.negatives is None and negatives) or label:
        kind = _kind((anchor, positive), negatives, label)
    unread = SCORE if SCORE in columns and SCORE not in (anchor, positive, *negatives, label) else None
    return Layout(anchor, positive, negatives, label, kind, unread)


def held_out(wanted: Wanted, columns: Sequence[str]) -> Wanted:
    """What is wanted of rows to measure on: no negatives and numbers, and a label where there is one."""
    label = wanted.label if wanted.label in columns else None
    return replace(wanted, negatives=(), numbers=(), label=label)


def document_column(columns: Sequence[str], positive: str) -> str:
    """The column of the answers, where nothing else is needed; by a well-known name where the usual one is missing."""
    known = dict.fromkeys(name for _, name in PAIRS if name in columns)
    return positive if positive in columns or positive != "positive" else next(iter(known), positive)


def row_problems(
    row: Mapping[str, Any],
    wanted: Wanted,
    origin: str,
    others: Sequence[str] = (),
    *,
    measured: bool = False,
    told: str = "",
) -> Iterator[str]:
    """What is wrong with the first row of a file, before the rest is read.

    others: columns that it needs besides. measured: of a file that is not trained on. told: how it was read, behind a
    message on a column that it does not have.
    """
    wanted = held_out(wanted, list(row)) if measured else wanted
    try:
        layout = layout_of(list(row), wanted, origin)
    except DataError as error:
        yield str(error)
        return
    candidates = [layout.positive, *layout.negatives]
    numbers = [f"{column}_{kind}" for column in candidates for kind in wanted.numbers]
    label = [layout.label] if layout.label else []
    columns = [layout.anchor, *candidates, *numbers, *label, *others]
    yield from _missing_cells(row, columns, origin, layout.negatives, told=told)


def document_problems(row: Mapping[str, Any], positive: str, origin: str, told: str = "") -> Iterator[str]:
    """What is wrong with the first row of a file that widens the corpus."""
    yield from _missing_cells(row, [document_column(list(row), positive)], origin, told=told)


def _missing_cells(
    row: Mapping[str, Any], columns: Sequence[str], origin: str, lists: Sequence[str] = (), *, told: str
) -> Iterator[str]:
    """Columns that a first row lacks or has nothing in. lists: those of which one may be empty."""
    for column in columns:
        if column not in row:
            yield f"{origin} {missing_column(column, list(row))}{told}"
        elif row[column] in (None, "") or (row[column] == [] and column not in lists):
            yield f"{origin}: column {column!r} of the first row is empty; every row needs a text"


def _negatives(columns: Sequence[str], pair: tuple[str, str]) -> tuple[str, ...]:
    found = {name: match for name in columns if (match := NEGATIVE.fullmatch(name)) and name not in pair}
    return tuple(sorted(found, key=lambda name: int(found[name][1] or 0)))


def _label(columns: Sequence[str], pair: tuple[str, str]) -> str | None:
    names = ("label", SCORE) if pair == ("sentence1", "sentence2") else ("label",)
    return next((name for name in names if name in columns), None)


def _kind(pair: tuple[str, str], negatives: Sequence[str], label: str | None) -> str:
    if label:
        return "labelled pairs"
    if pair == FLAG_EMBEDDING:
        return "FlagEmbedding rows"
    return {0: "pairs", 1: "triplets"}.get(len(negatives), "n-tuples")


def _shortened(columns: Sequence[str]) -> list[str]:
    return [*columns[:4], "...", columns[-1]] if len(columns) > 6 else list(columns)
