"""Data sets of the hub in BEIR's layout: texts and judgements apart, several right documents a query, graded or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import Stemmer

from matryoshka.data.hub import hub_rows
from matryoshka.data.judged_sets import DOCUMENT, QUERY, Table, judged, judged_set, texts_of
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import Problem
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

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
        queries, corpus = (
            texts_of([self._table(self.dataset, subset)], leave_out_blank=True)
            for subset in (self.queries, self.corpus)
        )
        tables = [self._table(self.qrels_dataset or self.dataset, self.qrels)]
        named = repr(self.queries), repr(self.corpus)
        right = judged(tables, queries, corpus, named, needed=(QUERY, DOCUMENT))
        return judged_set(self.name, queries, corpus, right)

    @property
    def commit(self) -> str | None:
        """The commit that was read, as far as it is known; before anything was read, the revision."""
        return self._commits.get(self.dataset, self.revision)

    @cached_property
    def _commits(self) -> dict[str, str]:
        return {}

    def _table(self, dataset: str, subset: str | None) -> Table:
        revision = self.commit if dataset == self.dataset else self._commits.get(dataset)
        rows, commit = hub_rows(dataset, subset, self.split, revision, or_only=True)
        if commit:
            self._commits[dataset] = commit
        return f"{dataset}, {subset!r}", rows


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
