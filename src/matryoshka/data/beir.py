"""A folder in BEIR's layout as a source of pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.data.ranges import Count
from matryoshka.data.reading.rows import read_rows, require_texts
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import NOT_TRAINED_ON, Problem, dev_problems, drawn_pairs
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


QRELS = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class BeirFolder:
    """A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv.

    Every judgement with a score above 0 is a training pair in the train split; in the evaluation and the dev split the
    score is the document's grade, a whole number, as trec_eval reads no others. Title and text of a document are joined
    by a space. pairs_at_most: as of PairFiles. Source: Thakur et al. 2021, arXiv:2104.08663.
    """

    name: str
    folder: str
    train_split: str | None = "train"
    evaluation_split: str = "test"
    dev_split: str | None = None
    pairs_at_most: Count | None = None
    _files: tuple[str, ...] = field(default=("corpus.jsonl", "queries.jsonl"), init=False, repr=False)

    def problems(self) -> Iterator[Problem]:
        """Files of the layout that are not there."""
        splits = {key: getattr(self, key) for key in ("train_split", "evaluation_split", "dev_split")}
        files = list(self._files)
        for key, split in splits.items():
            if split is None:
                continue
            if "/" in split or "\\" in split or split in ("", ".", ".."):
                yield key, f"{split!r} is no name of a split; use for example train"
            else:
                files.append(f"qrels/{split}.tsv")
        for file in files:
            if not (Path(self.folder) / file).is_file():
                layout = f"BEIR's layout has {', '.join(self._files)}, qrels/"
                yield "folder", f"{Path(self.folder) / file} does not exist; {layout}"
        yield from dev_problems("dev_split", self.dev_split, self.train_split, self.evaluation_split)

    def training_pairs(self) -> Dataset:
        """One row a judgement of the train split."""
        from datasets import Dataset

        if self.train_split is None:
            raise DataError(f"{self.name}: {NOT_TRAINED_ON.format('train_split')}")
        queries, corpus = self._texts("queries"), self._texts("corpus")
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
        queries, corpus = self._texts("queries"), self._texts("corpus")
        relevant: dict[str, dict[str, int]] = {}
        for (query, document), grade in self._qrels(split, queries, corpus, training=False).items():
            relevant.setdefault(query, {})[document] = int(grade)
        return RetrievalSet(name, queries, corpus, relevant)

    def _texts(self, kind: str) -> dict[str, str]:
        path = f"{self.folder}/{kind}.jsonl"
        rows = require_texts(read_rows(path), ["text"], path, blank=True)
        if "_id" not in rows.column_names:
            raise DataError(f"{path}: column '_id' is missing; BEIR's layout names every text")
        titles = rows["title"] if "title" in rows.column_names else [""] * len(rows)
        texts: dict[str, str] = {}
        for row, (key, title, text) in enumerate(zip(rows["_id"], titles, rows["text"], strict=True), start=1):
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
        path = f"{self.folder}/qrels/{split}.tsv"
        rows = read_rows(path)
        if missing := [column for column in QRELS if column not in rows.column_names]:
            raise DataError(f"{path}: column {missing[0]!r} is missing; its header is {QRELS}")
        judged: dict[tuple[str, str], float] = {}
        for number, row in enumerate(rows, start=1):
            query, document, score = (row[column] for column in QRELS)
            grade = max(0.0, _grade(score, f"{path}, row {number}", whole=not training))
            right = grade > 0
            grade = float(right) if training else grade  # how right does not matter there
            if judged.setdefault((query, document), grade) != grade:
                both = f"query {query!r} and document {document!r} are judged twice"
                raise DataError(f"{path}, row {number}: {both}; keep one of the scores")
            if right and query not in queries and not training:
                continue
            if right and query not in queries:
                raise DataError(f"{path}, row {number}: query {query!r} is not in queries.jsonl; give it a text there")
            if right and document not in corpus:
                what = f"document {document!r} is not in corpus.jsonl"
                raise DataError(f"{path}, row {number}: {what}; give it a text there")
        found = {pair: grade for pair, grade in judged.items() if grade > 0 and pair[0] in queries}
        if not found:
            remedy = "give a score above 0 to a query of queries.jsonl"
            raise DataError(f"{path}: no query has a relevant document; {remedy}")
        return found


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
