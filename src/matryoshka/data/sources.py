"""Where pairs come from: files (hub.py: the hub, beir.py: BEIR folders). Reading and caching are `datasets`' work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os.path import realpath
from typing import TYPE_CHECKING, Protocol

from matryoshka.data.columns import file_problems, row_ids
from matryoshka.data.layouts import NegativesPerRow, Wanted, document_problems, row_problems
from matryoshka.data.pairs import CANDIDATE
from matryoshka.data.question_file import QuestionFile, is_question_file, passages_of, rows_of_pairs
from matryoshka.data.ranges import Count
from matryoshka.data.read_as import files_read_as
from matryoshka.data.reading.form import TextForm
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Problem = tuple[str, str]
NOT_TRAINED_ON = "has no training pairs, since {0} is null; it can only be measured on"
TO_TRAIN = "is null, so there is nothing to train on; give {0}"


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

    # A source may have two more: `training_problems`, as problems, of what only a training reads; and `read_as`, lines
    # that say what was found in its files, and in their rows as far as they were read.


@dataclass(frozen=True)
class PairFiles:
    """Pairs in JSON lines, CSV or Parquet files, told apart by their ending; or LlamaIndex's files of questions.

    train, evaluation, dev: one row a pair; `anchor`, `positive`, `negatives` and `id` name their columns. train is None
    of what is only measured.
    pairs_at_most: how many to train on, always the same ones; None: all.
    negatives: None for columns that are known by their names. Of files without the columns anchor and positive, the
    layout is found by known names (see layouts): lists of answers, labelled pairs, other pairs. negatives_per_row: how
    many an epoch draws of each row. label, threshold: the column that says whether a pair is right, and from where on.
    numbers: what the training file says of each candidate, as `teacher`: a column of numbers behind the name of the
    positive's column and of each of the negatives', positive_teacher and negative_1_teacher.
    separator, encoding: of all of these files, as of TextForm.
    documents: further files whose `positive` column only widens the corpus that is searched.
    The passage of every evaluation and dev row is a document; the rows of one question are one query with all their
    answers, under the id of the first. Without an `id` column rows are numbered. The corpus of dev is that of
    evaluation, with dev's passages in place of evaluation's.
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
    separator: str | None = None
    encoding: str | None = None
    negatives_per_row: NegativesPerRow | None = None
    label: str | None = None
    threshold: float | None = None
    _told: dict[str, None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def _form(self) -> TextForm:
        return TextForm(self.separator, self.encoding, keys=True)

    def read_as(self) -> Iterator[str]:
        """What was found in files that are no plain ones, and in their rows as far as they were read."""
        files = [self.train, self.evaluation, self.dev, *self.documents]
        yield from files_read_as([file for file in files if file], self._form, [self.anchor, self.positive])
        yield from self._told

    def training_problems(self) -> Iterator[Problem]:
        """The training file, where there is none."""
        if self.train is None:
            yield "train", TO_TRAIN.format("a file of pairs, data.train=my.jsonl")

    def problems(self) -> Iterator[Problem]:
        """Missing files, unknown endings and columns that a file does not have."""
        if wrong := list(self._form.problems()):
            yield from wrong
            return
        wanted, ids = Wanted.of(self), [self.id] if self.id else []
        texts = [self.anchor, self.positive, *(self.negatives or ())]
        for kind in self.numbers:
            if not CANDIDATE.fullmatch(f"positive_{kind}"):
                remedy = "use small letters, digits and _, as in data.numbers=[teacher]"
                yield "numbers", f"{kind!r} names no numbers; {remedy}"
        if len(set(texts)) < len(texts):
            yield "positive", f"the columns {', '.join(texts)} name one column twice; anchor and positive differ"
        if self.train is not None:
            candidates = [self.positive, *(self.negatives or ())]
            numbers = [f"{column}_{kind}" for column in candidates for kind in self.numbers]
            of_rows = partial(row_problems, wanted=wanted)
            yield from file_problems("train", self.train, [*texts, *numbers], self._form, of_rows)
        held_out, of_rows = [*texts[:2], *ids], partial(row_problems, wanted=wanted, others=ids, measured=True)
        yield from file_problems("evaluation", self.evaluation, held_out, self._form, of_rows)
        if self.dev is not None:
            yield from file_problems("dev", self.dev, held_out, self._form, of_rows)
            yield from dev_problems("dev", self.dev, self.train, self.evaluation)
        of_rows = partial(document_problems, positive=self.positive)
        for i, path in enumerate(self.documents):
            yield from file_problems(f"documents[{i}]", path, [self.positive], self._form, of_rows)

    def training_pairs(self) -> Dataset:
        """The training rows, columns renamed to anchor, positive, negative_1 ...; raises DataError on an empty text."""
        from matryoshka.data.training_rows import training_rows  # it loads what a check of arguments can do without

        if self.train is None:
            raise DataError(f"{self.name}: {NOT_TRAINED_ON.format('train')}")
        rows = rows_of_pairs(self.train, self._form, [self.anchor, self.positive, *(self.negatives or ())])
        return training_rows(rows, Wanted.of(self), self.train, self._tell, self.pairs_at_most)

    def retrieval_set(self) -> RetrievalSet:
        """The questions of the evaluation rows and their passages; the documents' passages besides."""
        return self._set(self.name, self.evaluation)

    def dev_set(self) -> RetrievalSet | None:
        """The same of the dev file."""
        return self._set(f"{self.name} (dev)", self.dev) if self.dev is not None else None

    def _tell(self, line: str) -> None:
        self._told[line] = None

    def _set(self, name: str, path: str) -> RetrievalSet:
        from matryoshka.data.held_out_rows import held_out_rows

        more: dict[str, str] = {}
        for n, documents in enumerate(self.documents):
            texts = passages_of(documents, self._form, self.positive)
            more |= {f"x{n}-{i}": text for i, text in enumerate(texts)}
        if is_question_file(path, self._form):
            return QuestionFile.read(path, self._form).retrieval_set(name, more)
        columns = [self.anchor, self.positive, *([self.id] if self.id else [])]
        rows = held_out_rows(rows_of_pairs(path, self._form, columns), Wanted.of(self), path, self._tell, self.id)
        return set_of_pairs(name, rows[self.anchor], rows[self.positive], row_ids(rows, self.id, path), more)


def set_of_pairs(
    name: str,
    queries: Sequence[str],
    passages: Sequence[str],
    ids: Iterable[str] | None = None,
    more: Mapping[str, str] | None = None,
) -> RetrievalSet:
    """Each question as query `q-<id>`, each passage as document `d-<id>`; more: documents that answer none.

    Pairs of one question are one query with all their passages, under the first pair's id; a pair that comes twice
    counts once.
    """
    ids = list(ids or map(str, range(len(queries))))
    query_of, documents, answers = dict[str, str](), dict[str, str](), dict[str, dict[str, str]]()
    for i, question, passage in zip(ids, queries, passages, strict=True):
        found = answers.setdefault(query_of.setdefault(question, f"q-{i}"), {})
        if passage not in found:
            found[passage] = f"d-{i}"
            documents[f"d-{i}"] = passage
    return RetrievalSet(
        name,
        queries={query: question for question, query in query_of.items()},
        corpus=documents | dict(more or {}),
        relevant={query: frozenset(found.values()) for query, found in answers.items()},
        repeated=len(ids) - len(query_of),
    )


def dev_problems(key: str, dev: str | None, train: str | None, evaluation: str) -> Iterator[Problem]:
    """A dev file or split that is trained on, or reported on."""
    if dev is not None and realpath(dev) == realpath(evaluation):
        yield key, f"{dev} is what the run reports on; use split=same to select the checkpoint on it as well"
    elif dev is not None and train is not None and realpath(dev) == realpath(train):
        yield key, f"{dev} is trained on; use {key}=null to hold some of it out"
