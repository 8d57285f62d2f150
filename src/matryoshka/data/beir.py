"""A folder in BEIR's layout as a source of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from matryoshka.data.reading import read_rows, require_texts
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import Problem, dev_problems
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class BeirFolder:
    """A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv.

    Every judgement with a grade above 0 is a training pair in the train split, a relevant document in the evaluation
    and the dev split. Title and text of a document are joined by a space. Source: Thakur et al. 2021, arXiv:2104.08663.
    """

    name: str
    folder: str
    train_split: str = "train"
    evaluation_split: str = "test"
    dev_split: str | None = None
    _files: tuple[str, ...] = field(default=("corpus.jsonl", "queries.jsonl"), init=False, repr=False)

    def problems(self) -> Iterator[Problem]:
        """Files of the layout that are not there."""
        splits = [split for split in (self.train_split, self.evaluation_split, self.dev_split) if split is not None]
        for file in (*self._files, *(f"qrels/{split}.tsv" for split in splits)):
            if not (Path(self.folder) / file).is_file():
                layout = f"BEIR's layout has {', '.join(self._files)}, qrels/"
                yield "folder", f"{Path(self.folder) / file} does not exist; {layout}"
        yield from dev_problems("dev_split", self.dev_split, self.train_split, self.evaluation_split)

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
        return self._set(self.name, self.evaluation_split)

    def dev_set(self) -> RetrievalSet | None:
        """The queries judged in the dev split over the whole corpus."""
        return self._set(f"{self.name} (dev)", self.dev_split) if self.dev_split is not None else None

    def _set(self, name: str, split: str) -> RetrievalSet:
        relevant: dict[str, set[str]] = {}
        for query, document in self._qrels(split):
            relevant.setdefault(query, set()).add(document)
        frozen = {query: frozenset(documents) for query, documents in relevant.items()}
        return RetrievalSet(name, self._texts("queries"), self._texts("corpus"), frozen)

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
