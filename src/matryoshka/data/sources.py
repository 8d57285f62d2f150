"""Where pairs come from: files, a hub data set, a BEIR folder. Reading and caching are `datasets`' work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from matryoshka.data.reading import first_row, read_rows, require_texts
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Problem = tuple[str, str]


class Source(Protocol):
    """Training pairs and a set to evaluate on. Creating a source is cheap: it reads nothing yet."""

    name: str

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments, as (argument, message), found without reading the data."""

    def training_pairs(self) -> Dataset:
        """Rows of `anchor`, `positive` and, where there are hard negatives, `negative_1`, `negative_2` ..."""

    def retrieval_set(self) -> RetrievalSet:
        """Queries, corpus and relevant documents held out from training."""


@dataclass(frozen=True)
class PairFiles:
    """Pairs in JSON lines, CSV or Parquet files, told apart by their ending.

    train, evaluation: one row a pair; `anchor`, `positive`, `negatives` and `id` name their columns.
    documents: further files whose `positive` column only widens the corpus that is searched.
    Every evaluation row is a query with one relevant document, its own; without an `id` column rows are numbered.
    """

    name: str
    train: str
    evaluation: str
    documents: Sequence[str] = ()
    anchor: str = "anchor"
    positive: str = "positive"
    negatives: Sequence[str] = ()
    id: str | None = None

    def problems(self) -> Iterator[Problem]:
        """Missing files, unknown endings and columns that a file does not have."""
        pair = [column for column in (self.anchor, self.positive, self.id) if column is not None]
        texts = [self.anchor, self.positive, *self.negatives]
        if len(set(texts)) < len(texts):
            yield "positive", f"the columns {', '.join(texts)} name one column twice; anchor and positive differ"
        yield from _file_problems("train", self.train, texts)
        yield from _file_problems("evaluation", self.evaluation, pair)
        for i, path in enumerate(self.documents):
            yield from _file_problems(f"documents[{i}]", path, [self.positive])

    def training_pairs(self) -> Dataset:
        """The training rows, columns renamed to anchor, positive, negative_1 ...; raises DataError on an empty text."""
        columns = {self.anchor: "anchor", self.positive: "positive"}
        columns |= {column: f"negative_{i}" for i, column in enumerate(self.negatives, start=1)}
        return _training_columns(read_rows(self.train), columns, self.train)

    def retrieval_set(self) -> RetrievalSet:
        """Each evaluation row as a query and its passage; the documents' passages besides."""
        rows = require_texts(read_rows(self.evaluation), [self.anchor, self.positive], self.evaluation)
        ids = [str(value) for value in rows[self.id]] if self.id else [str(i) for i in range(len(rows))]
        if len(set(ids)) < len(ids):
            raise DataError(f"{self.evaluation}: column {self.id!r} repeats an id; ids must be unique")
        corpus = dict(zip((f"d-{i}" for i in ids), rows[self.positive], strict=True))
        for n, path in enumerate(self.documents):
            more = require_texts(read_rows(path), [self.positive], path)
            corpus |= {f"x{n}-{i}": text for i, text in enumerate(more[self.positive])}
        queries = dict(zip((f"q-{i}" for i in ids), rows[self.anchor], strict=True))
        relevant = {f"q-{i}": frozenset([f"d-{i}"]) for i in ids}
        return RetrievalSet(self.name, queries, corpus, relevant)


@dataclass(frozen=True)
class HubPairs:
    """Pairs of a data set on the Hugging Face hub, a train and an evaluation split; `revision` pins a commit."""

    name: str
    dataset: str
    subset: str | None = None
    revision: str | None = None
    train_split: str = "train"
    evaluation_split: str = "test"
    anchor: str = "anchor"
    positive: str = "positive"
    negatives: Sequence[str] = ()

    def problems(self) -> Iterator[Problem]:
        """Nothing can be checked without the network: loading says what is missing."""
        return iter(())

    def training_pairs(self) -> Dataset:
        """The rows of the train split, columns renamed; raises DataError if it cannot be had."""
        columns = {self.anchor: "anchor", self.positive: "positive"}
        columns |= {column: f"negative_{i}" for i, column in enumerate(self.negatives, start=1)}
        return _training_columns(self._split(self.train_split), columns, self.dataset)

    def retrieval_set(self) -> RetrievalSet:
        """Each row of the evaluation split as a query and its passage."""
        rows = require_texts(self._split(self.evaluation_split), [self.anchor, self.positive], self.dataset)
        queries = {f"q-{i}": text for i, text in enumerate(rows[self.anchor])}
        corpus = {f"d-{i}": text for i, text in enumerate(rows[self.positive])}
        return RetrievalSet(self.name, queries, corpus, {f"q-{i}": frozenset([f"d-{i}"]) for i in range(len(rows))})

    def _split(self, split: str) -> Dataset:
        from datasets import load_dataset

        try:
            return load_dataset(self.dataset, self.subset, split=split, revision=self.revision)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"data set {self.dataset!r}, split {split!r}, cannot be loaded: {reason}") from error


@dataclass(frozen=True)
class BeirFolder:
    """A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv.

    Every judgement with a grade above 0 is a training pair in the train split, a relevant document in the
    evaluation split. Title and text of a document are joined by a space. Source: Thakur et al. 2021, arXiv:2104.08663.
    """

    name: str
    folder: str
    train_split: str = "train"
    evaluation_split: str = "test"
    _files: tuple[str, ...] = field(default=("corpus.jsonl", "queries.jsonl"), init=False, repr=False)

    def problems(self) -> Iterator[Problem]:
        """Files of the layout that are not there."""
        splits = (f"qrels/{self.train_split}.tsv", f"qrels/{self.evaluation_split}.tsv")
        for file in (*self._files, *splits):
            if not (Path(self.folder) / file).is_file():
                layout = f"BEIR's layout has {', '.join(self._files)}, qrels/"
                yield "folder", f"{Path(self.folder) / file} does not exist; {layout}"

    def training_pairs(self) -> Dataset:
        """One row a judgement of the train split."""
        from datasets import Dataset

        queries, corpus, judgements = self._texts("queries"), self._texts("corpus"), self._qrels(self.train_split)
        try:
            pairs = [(queries[query], corpus[document]) for query, document in judgements]
        except KeyError as error:
            raise DataError(f"{self.folder}/qrels/{self.train_split}.tsv names {error}, which has no text") from error
        return Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [p for _, p in pairs]})

    def retrieval_set(self) -> RetrievalSet:
        """The queries judged in the evaluation split over the whole corpus."""
        relevant: dict[str, set[str]] = {}
        for query, document in self._qrels(self.evaluation_split):
            relevant.setdefault(query, set()).add(document)
        frozen = {query: frozenset(documents) for query, documents in relevant.items()}
        return RetrievalSet(self.name, self._texts("queries"), self._texts("corpus"), frozen)

    def _texts(self, kind: str) -> dict[str, str]:
        path = f"{self.folder}/{kind}.jsonl"
        rows = require_texts(read_rows(path), ["text"], path, blank=True)
        if "_id" not in rows.column_names:
            raise DataError(f"{path}: column '_id' is missing; BEIR's layout names every text")
        titles = rows["title"] if "title" in rows.column_names else [""] * len(rows)
        texts = [f"{title or ''} {text}".strip() for title, text in zip(titles, rows["text"], strict=True)]
        if "" in texts:
            raise DataError(f"{path}, row {texts.index('') + 1}: neither a title nor a text; remove the row")
        return dict(zip(map(str, rows["_id"]), texts, strict=True))

    def _qrels(self, split: str) -> list[tuple[str, str]]:
        path = f"{self.folder}/qrels/{split}.tsv"
        rows = read_rows(path)
        columns = ("query-id", "corpus-id", "score")
        if missing := [column for column in columns if column not in rows.column_names]:
            raise DataError(f"{path}: column {missing[0]!r} is missing; its header is {columns}")
        try:
            return [(row["query-id"], row["corpus-id"]) for row in rows if float(row["score"]) > 0]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: a score is not a number ({error})") from error


def _file_problems(key: str, path: str, columns: Sequence[str]) -> Iterator[Problem]:
    try:
        row = first_row(path)
    except DataError as error:
        yield key, str(error)
        return
    for column in columns:
        if column not in row:
            yield key, f"{path} has no column {column!r}; it has {', '.join(map(repr, row))}"
        elif row[column] in (None, ""):
            yield key, f"{path}: column {column!r} of the first row is empty; every row needs a text"


def _training_columns(rows: Dataset, columns: dict[str, str], origin: str) -> Dataset:
    require_texts(rows, list(columns), origin)
    return rows.select_columns(list(columns)).rename_columns(columns)
