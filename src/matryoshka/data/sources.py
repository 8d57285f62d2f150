"""Where pairs come from: files (hub.py: the hub, beir.py: BEIR folders). Reading and caching are `datasets`' work."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from matryoshka.data.layouts import NegativesPerRow, Wanted, document_problems, row_problems
from matryoshka.data.pairs import CANDIDATE
from matryoshka.data.ranges import Count
from matryoshka.data.reading.rows import first_row, read_rows
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Problem = tuple[str, str]
NOT_TRAINED_ON = "has no training pairs, since {0} is null; it can only be measured on"


class Source(Protocol):
    """Training pairs and sets to evaluate on. Creating a source is cheap: it reads nothing yet."""

    name: str

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments, as (argument, message), found without reading the data."""

    def training_pairs(self) -> Dataset:
        """Rows of `anchor`, `positive` and, where there are hard negatives, `negative_1`, `negative_2` ..."""

    def retrieval_set(self) -> RetrievalSet:
        """Queries, corpus and relevant documents held out from training: what a run reports."""

    def dev_set(self) -> RetrievalSet | None:
        """Others to select the checkpoint on, where the data bring them along; a source without any may omit this."""


@dataclass(frozen=True)
class PairFiles:
    """Pairs in JSON lines, CSV or Parquet files, told apart by their ending.

    train, evaluation, dev: one row a pair; `anchor`, `positive`, `negatives` and `id` name their columns. train is None
    of what is only measured.
    pairs_at_most: how many to train on, always the same ones; None: all.
    negatives: None for columns that are known by their names. Of files without the columns anchor and positive, the
    layout is found by known names (see layouts): lists of answers, labelled pairs, other pairs. negatives_per_row: how
    many an epoch draws of each row. label, threshold: the column that says whether a pair is right, and from where on.
    numbers: what the training file says of each candidate, as `teacher`: a column of numbers behind the name of the
    positive's column and of each of the negatives', positive_teacher and negative_1_teacher.
    documents: further files whose `positive` column only widens the corpus that is searched.
    Every evaluation and dev row is a query with one relevant document, its own; without an `id` column rows are
    numbered. The corpus of dev is that of evaluation, with dev's passages in place of evaluation's.
    """

    name: str
    train: str | None
    evaluation: str
    documents: Sequence[str] = ()
    anchor: str = "anchor"
    positive: str = "positive"
    negatives: Sequence[str] | None = ()
    id: str | None = None
    dev: str | None = None
    pairs_at_most: Count | None = None
    numbers: Sequence[str] = ()
    negatives_per_row: NegativesPerRow | None = None
    label: str | None = None
    threshold: float | None = None
    _told: dict[str, None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def problems(self) -> Iterator[Problem]:
        """Missing files, unknown endings and columns that a file does not have."""
        wanted, ids = Wanted.of(self), [self.id] if self.id else []
        texts = [self.anchor, self.positive, *(self.negatives or ())]
        for kind in self.numbers:
            if not CANDIDATE.fullmatch(f"positive_{kind}"):
                yield (
                    "numbers",
                    f"{kind!r} names no numbers; use small letters, digits and _, as in data.numbers=[teacher]",
                )
        if len(set(texts)) < len(texts):
            yield "positive", f"the columns {', '.join(texts)} name one column twice; anchor and positive differ"
        if self.train is not None:
            yield from _file_problems("train", self.train, partial(row_problems, wanted=wanted))
        held_out_problems = partial(row_problems, wanted=wanted, others=ids, measured=True)
        yield from _file_problems("evaluation", self.evaluation, held_out_problems)
        if self.dev is not None:
            yield from _file_problems("dev", self.dev, held_out_problems)
            yield from dev_problems("dev", self.dev, self.train, self.evaluation)
        for i, path in enumerate(self.documents):
            yield from _file_problems(f"documents[{i}]", path, partial(document_problems, positive=self.positive))

    def training_pairs(self) -> Dataset:
        """The training rows, columns renamed to anchor, positive, negative_1 ...; raises DataError on an empty text."""
        from matryoshka.data.training_rows import training_rows  # it loads what a check of arguments can do without

        if self.train is None:
            raise DataError(f"{self.name}: {NOT_TRAINED_ON.format('train')}")
        rows = read_rows(self.train)
        return training_rows(rows, Wanted.of(self), self.train, self._tell, self.pairs_at_most)

    def retrieval_set(self) -> RetrievalSet:
        """Each evaluation row as a query and its passage; the documents' passages besides."""
        return self._set(self.name, self.evaluation)

    def dev_set(self) -> RetrievalSet | None:
        """The same of the dev file."""
        return self._set(f"{self.name} (dev)", self.dev) if self.dev is not None else None

    @property
    def told(self) -> tuple[str, ...]:
        """What a run's first lines say of the rows, as far as they were read."""
        return tuple(self._told)

    def _tell(self, line: str) -> None:
        self._told[line] = None

    def _set(self, name: str, path: str) -> RetrievalSet:
        from matryoshka.data.held_out_rows import document_texts, held_out_rows

        rows = held_out_rows(read_rows(path), Wanted.of(self), path, self._tell, self.id)
        ids = [str(value) for value in rows[self.id]] if self.id else list(map(str, range(len(rows))))
        if len(set(ids)) < len(ids):
            raise DataError(f"{path}: column {self.id!r} repeats an id; ids must be unique")
        more: dict[str, str] = {}
        for n, documents in enumerate(self.documents):
            texts = document_texts(read_rows(documents), self.positive, documents)
            more |= {f"x{n}-{i}": text for i, text in enumerate(texts)}
        return set_of_pairs(name, rows[self.anchor], rows[self.positive], ids, more)


def set_of_pairs(
    name: str,
    queries: Sequence[str],
    passages: Sequence[str],
    ids: Iterable[str] | None = None,
    more: Mapping[str, str] | None = None,
) -> RetrievalSet:
    """Each pair as query `q-<id>` and its one relevant document `d-<id>`; more: documents that answer none."""
    ids = list(ids or map(str, range(len(queries))))
    return RetrievalSet(
        name,
        queries={f"q-{i}": text for i, text in zip(ids, queries, strict=True)},
        corpus={f"d-{i}": text for i, text in zip(ids, passages, strict=True)} | dict(more or {}),
        relevant={f"q-{i}": frozenset([f"d-{i}"]) for i in ids},
    )


def drawn_pairs(rows: Dataset, at_most: int | None) -> Dataset:
    """So many of the rows, in their order: always the same ones, and fewer are among more. None: all."""
    if at_most is None or at_most >= len(rows):
        return rows
    return rows.select(sorted(random.Random(0).sample(range(len(rows)), len(rows))[:at_most]))


def dev_problems(key: str, dev: str | None, train: str | None, evaluation: str) -> Iterator[Problem]:
    """A dev file or split that is trained on, or reported on."""
    if dev is not None and dev == evaluation:
        yield key, f"{dev} is what the run reports on; use split=same to select the checkpoint on it as well"
    elif dev is not None and dev == train:
        yield key, f"{dev} is trained on; use {key}=null to hold some of it out"


def _file_problems(key: str, path: str, problems: Callable[..., Iterator[str]]) -> Iterator[Problem]:
    try:
        row = first_row(path)
    except DataError as error:
        yield key, str(error)
        return
    yield from ((key, what) for what in problems(row, origin=path))
