"""A folder in BEIR's or MTEB's layout as a source of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.data.beir_files import judgement_files, text_files
from matryoshka.data.ranges import Count
from matryoshka.data.reading.form import TextForm
from matryoshka.data.reading.rows import read_rows, require_texts
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import NOT_TRAINED_ON, TO_TRAIN, Problem, dev_problems, drawn_pairs
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


QRELS = ("query-id", "corpus-id", "score")
IDS = ("_id", "id")


@dataclass(frozen=True)
class BeirFolder:
    """A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv; or in MTEB's.

    There corpus and queries are files or folders of JSON lines or Parquet, as corpus/test-00000-of-00001.parquet, and
    judgements stand in qrels/ or data/, as qrels/test.jsonl. Every judgement with a score above 0 is a training pair in
    the train split; in the evaluation and the dev split the score is the document's grade, a whole number, as trec_eval
    reads no others. Title and text of a document are joined by a space. pairs_at_most: as of PairFiles. Without
    judgements of the train split it is only measured.
    Source: Thakur et al. 2021, arXiv:2104.08663; Muennighoff et al. 2023, arXiv:2210.07316.
    """

    name: str
    folder: str
    train_split: str | None = "train"
    evaluation_split: str = "test"
    dev_split: str | None = None
    pairs_at_most: Count | None = None

    def problems(self) -> Iterator[Problem]:
        """Files of the layout that are not there, but for those that are only trained on."""
        for kind in ("corpus", "queries"):
            yield from _missing(partial(text_files, Path(self.folder), kind, self.evaluation_split))
        for key in ("evaluation_split", "dev_split"):
            yield from self._split_problems(key)
        yield from dev_problems("dev_split", self.dev_split, self.train_split, self.evaluation_split)

    def training_problems(self) -> Iterator[Problem]:
        """Files that a training needs besides."""
        if self.train_split is None:
            yield "train_split", TO_TRAIN.format("a split of the folder, as data.train_split=train")
        yield from self._split_problems("train_split")

    def _split_problems(self, key: str) -> Iterator[Problem]:
        split = getattr(self, key)
        if split is not None and ("/" in split or "\\" in split or split in ("", ".", "..")):
            yield key, f"{split!r} is no name of a split; use for example train"
        elif split is not None:
            yield from _missing(partial(judgement_files, Path(self.folder), split))

    def read_as(self) -> Iterator[str]:
        """Which files were taken for what."""
        folder, split = Path(self.folder), self.evaluation_split
        files = [text_files(folder, "corpus", split), text_files(folder, "queries", split)]
        files.append(judgement_files(folder, split))
        told = [str(part[0].relative_to(folder)) + (f" and {len(part) - 1} more" if part[1:] else "") for part in files]
        layout = "BEIR" if told == ["corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"] else "MTEB"
        yield f"{folder} read as {layout}'s layout: {', '.join(told)}"

    def training_pairs(self) -> Dataset:
        """One row a judgement of the train split."""
        from datasets import Dataset

        if self.train_split is None:
            raise DataError(f"{self.name}: {NOT_TRAINED_ON.format('train_split')}")
        queries, corpus = (self._texts(kind, self.train_split) for kind in ("queries", "corpus"))
        judgements = self._qrels(self.train_split, queries, corpus, training=True)
        rows = Dataset.from_dict(
            {"anchor": [queries[query] for query, _ in judgements], "positive": [corpus[doc] for _, doc in judgements]}
        )
        return drawn_pairs(rows, self.pairs_at_most)

    def retrieval_set(self) -> RetrievalSet:
        """The queries judged in the evaluation split over the whole corpus."""
        return self._set(self.name, self.evaluation_split)

    def dev_set(self) -> RetrievalSet | None:
        """The queries judged in the dev split over the whole corpus."""
        return self._set(f"{self.name} (dev)", self.dev_split) if self.dev_split is not None else None

    def _set(self, name: str, split: str) -> RetrievalSet:
        queries, corpus = (self._texts(kind, split) for kind in ("queries", "corpus"))
        relevant: dict[str, dict[str, int]] = {}
        for (query, document), grade in self._qrels(split, queries, corpus, training=False).items():
            relevant.setdefault(query, {})[document] = int(grade)
        return RetrievalSet(name, queries, corpus, relevant)

    def _texts(self, kind: str, split: str) -> dict[str, str]:
        texts: dict[str, str] = {}
        for file in text_files(Path(self.folder), kind, split):
            path = str(file)
            rows = require_texts(read_rows(path), ["text"], path, blank=True)
            ids = next((column for column in IDS if column in rows.column_names), None)
            if ids is None:
                raise DataError(f"{path}: column '_id' is missing; BEIR's layout names every text, by _id or id")
            titles = rows["title"] if "title" in rows.column_names else [""] * len(rows)
            for row, (key, title, text) in enumerate(zip(rows[ids], titles, rows["text"], strict=True), start=1):
                if wrong := _wrong_row(key, title, text, texts):
                    raise DataError(f"{path}, row {row}: {wrong}")
                texts[str(key)] = f"{title or ''} {text}".strip()
        return texts

    def _qrels(
        self, split: str, queries: Mapping[str, str], corpus: Mapping[str, str], *, training: bool
    ) -> dict[tuple[str, str], float]:
        """Query and document of every judgement above 0, both of them known, and the grade; to train on, 1.

        To evaluate, queries without a text are left out, as BEIR does.
        """
        judged: dict[tuple[str, str], float] = {}
        for path in map(str, judgement_files(Path(self.folder), split)):
            for place, query, document, score in _judgements(path):
                grade = max(0.0, _grade(score, place, whole=not training))
                right = grade > 0
                grade = float(right) if training else grade  # how right does not matter there
                if judged.setdefault((query, document), grade) != grade:
                    both = f"query {query!r} and document {document!r} are judged twice"
                    raise DataError(f"{place}: {both}; keep one of the scores")
                if right and query not in queries and not training:
                    continue
                if right and query not in queries:
                    raise DataError(f"{place}: query {query!r} is not in {_named('queries', self.folder)}")
                if right and document not in corpus:
                    raise DataError(f"{place}: document {document!r} is not in {_named('corpus', self.folder)}")
        found = {pair: grade for pair, grade in judged.items() if grade > 0 and pair[0] in queries}
        if not found:
            remedy = "give a score above 0 to a query of queries.jsonl"
            raise DataError(f"{path}: no query has a relevant document; {remedy}")
        return found


def _missing(find: Callable[[], object]) -> Iterator[Problem]:
    try:
        find()
    except DataError as error:
        yield "folder", str(error)


def _named(kind: str, folder: str) -> str:
    file = kind if (Path(folder) / kind).is_dir() else f"{kind}.jsonl"
    return f"{file}; give it a text there"


def _judgements(path: str) -> Iterator[tuple[str, str, str, Any]]:
    """The place of each row of a file of judgements, its query, document and score."""
    rows = read_rows(path, TextForm(separator="\t"))
    if missing := [column for column in QRELS if column not in rows.column_names]:
        raise DataError(f"{path}: column {missing[0]!r} is missing; its header is {QRELS}")
    for number, row in enumerate(rows, start=1):
        for column in QRELS[:2]:
            if not isinstance(row[column], str | int) or isinstance(row[column], bool):
                what = f"{column} is {row[column]!r}, no text and no number"
                raise DataError(f"{path}, row {number}: {what}; write the id as text")
        yield f"{path}, row {number}", str(row[QRELS[0]]), str(row[QRELS[1]]), row[QRELS[2]]


def _wrong_row(key: Any, title: Any, text: str, before: Mapping[str, str]) -> str:
    """What is wrong with a row of texts, and the remedy; empty if nothing is."""
    if key is None or key == "":
        return "the id is empty; give every text its own"
    if not isinstance(key, str | int) or isinstance(key, bool):
        return f"the id is {key!r}, no text and no number; give every text its own"
    if str(key) in before:
        return f"id {str(key)!r} is given twice; give every text its own"
    if title is not None and not isinstance(title, str):
        return f"'title' is {title!r}, not a text; put it in quotes"
    return "" if f"{title or ''}{text}".strip() else "neither a title nor a text; remove the row"


def _grade(score: Any, place: str, *, whole: bool) -> float:
    try:
        grade = float(score)
    except (TypeError, ValueError):
        grade = math.nan
    if not math.isfinite(grade):
        raise DataError(f"{place}: score is {score!r}, not a number; write 1 for a right document, 0 for a wrong one")
    if whole and not grade.is_integer():
        raise DataError(f"{place}: score is {score!r}, no whole number; multiply all scores until they are")
    return grade
