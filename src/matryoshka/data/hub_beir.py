"""Data sets of the hub in BEIR's layout: texts and judgements apart, several right documents a query, graded or not."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import Stemmer

from matryoshka.data.hub import hub_rows
from matryoshka.data.reading.rows import missing_column, require_texts
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import Problem
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

QUERY, DOCUMENT, SCORE = "query-id", "corpus-id", "score"
README = "README.md"


@dataclass(frozen=True)
class HubBeir:
    """Queries, corpus and judgements of a data set on the hub, or in a folder that is a clone of one. Only measured.

    corpus, queries: subsets with the columns _id, text and, where there are titles, title, which stands before it.
    qrels: a subset with query-id, corpus-id (one, or a list) and, where judgements are graded, score, a whole number;
    qrels_dataset: of this data set, None for the same one. split: of all three; a subset's only split may have another
    name. language: of the texts, for BM25; None: as configured there. Empty texts are left out, as
    sentence-transformers does for NanoBEIR, and so are queries without a right document.
    """

    name: str
    dataset: str
    split: str = "test"
    corpus: str = "corpus"
    queries: str = "queries"
    qrels: str | None = "qrels"
    qrels_dataset: str | None = None
    revision: str | None = None
    language: str | None = None

    def problems(self) -> Iterator[Problem]:
        """A folder that is none, while the hub is offline a data set that is not in the cache, an unknown language."""
        for key, dataset in (("dataset", self.dataset), ("qrels_dataset", self.qrels_dataset)):
            if dataset is not None and (why := _out_of_reach(dataset)):
                yield key, f"{dataset!r} {why}"
        if self.language is not None and self.language not in (languages := Stemmer.algorithms()):
            yield "language", f"{self.language!r} has no stemmer; there are {', '.join(languages)}"

    def training_pairs(self) -> Dataset:
        """There are none: raises DataError."""
        raise DataError(f"{self.name}: has no training pairs; it can only be measured on")

    def retrieval_set(self) -> RetrievalSet:
        """The judged queries over the whole corpus. Raises DataError for what cannot be read rightly."""
        queries, corpus = self._texts(self.queries), self._texts(self.corpus)
        return RetrievalSet(self.name, queries, corpus, self._judged(queries, corpus))

    @property
    def commit(self) -> str | None:
        """The commit that was read, as far as it is known; before anything was read, the revision."""
        return self._commits.get(self.dataset, self.revision)

    @cached_property
    def _commits(self) -> dict[str, str]:
        return {}

    def _rows(self, dataset: str, subset: str | None) -> Dataset:
        revision = self.commit if dataset == self.dataset else self._commits.get(dataset)
        rows, commit = hub_rows(dataset, subset, self.split, revision, or_only=True)
        if commit:
            self._commits[dataset] = commit
        return rows

    def _texts(self, subset: str) -> dict[str, str]:
        origin = f"{self.dataset}, {subset!r}"
        rows = require_texts(self._rows(self.dataset, subset), ["text"], origin, blank=True)
        _require_columns(rows, ["_id"], origin)
        titles = rows["title"] if "title" in rows.column_names else [None] * len(rows)
        texts: dict[str, str] = {}
        seen: set[str] = set()
        for row, (key, title, text) in enumerate(zip(rows["_id"], titles, rows["text"], strict=True), start=1):
            if (name := _id(key, f"{origin}, row {row}, '_id'")) in seen:
                raise DataError(f"{origin}, row {row}: id {name!r} is given twice; give every text its own")
            if title is not None and not isinstance(title, str):
                raise DataError(f"{origin}, row {row}: 'title' is {title!r}, not a text")
            seen.add(name)
            if whole := f"{title or ''} {text}".strip():
                texts[name] = whole
        return texts

    def _judged(self, queries: Mapping[str, str], corpus: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """query -> document -> grade, of the queries that there are; 1 where no scores are given."""
        origin = f"{self.qrels_dataset or self.dataset}, {self.qrels!r}"
        rows = self._rows(self.qrels_dataset or self.dataset, self.qrels)
        _require_columns(rows, [QUERY, DOCUMENT], origin)
        scores = rows[SCORE] if SCORE in rows.column_names else [1] * len(rows)
        judged: dict[str, dict[str, int]] = {}
        for row, (query, found, score) in enumerate(zip(rows[QUERY], rows[DOCUMENT], scores, strict=True), start=1):
            place = f"{origin}, row {row}"
            one, grade = _id(query, f"{place}, {QUERY!r}"), _grade(score, place)
            for document in found if isinstance(found, list) else [found]:
                other = _id(document, f"{place}, {DOCUMENT!r}")
                if one in queries and grade > 0 and other not in corpus:
                    raise DataError(f"{place}: document {other!r} has no text in {self.corpus!r}")
                if one in queries and judged.setdefault(one, {}).setdefault(other, grade) != grade:
                    raise DataError(f"{place}: query {one!r} and document {other!r} are judged twice, differently")
        return judged


def _out_of_reach(dataset: str) -> str:
    """Why a data set cannot be had, as far as it is known without the hub; empty if it may be there."""
    import huggingface_hub.constants as hub

    folder = Path(dataset).expanduser()
    if folder.is_dir():
        lacks = f"has no {README} that names its subsets, as a clone of a hub data set has"
        return "" if (folder / README).is_file() else lacks
    if folder.is_absolute() or dataset.startswith(".") or dataset.count("/") != 1:
        return "is neither a folder here nor a hub name like owner/name"
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(hub.HF_HOME, "datasets"))
    if hub.HF_HUB_OFFLINE and not (cache / dataset.replace("/", "___")).is_dir():
        return (
            f"is not in the cache of datasets ({cache}), and the hub is offline; fetch it once without HF_HUB_OFFLINE"
        )
    return ""


def _require_columns(rows: Dataset, columns: list[str], origin: str) -> None:
    for column in columns:
        if column not in rows.column_names:
            raise DataError(f"{origin} {missing_column(column, rows.column_names)}")


def _id(key: Any, place: str) -> str:
    if key is None or key == "" or isinstance(key, bool) or not isinstance(key, str | int):
        raise DataError(f"{place} is {key!r}, no text and no number; give every text an id of its own")
    return str(key)


def _grade(score: Any, place: str) -> int:
    number = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else math.nan
    if not number.is_integer():
        raise DataError(
            f"{place}: score is {score!r}, no whole number; write 1 for a right document, 0 for a wrong one"
        )
    return int(number)
