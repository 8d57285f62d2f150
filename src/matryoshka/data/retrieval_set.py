"""A set to evaluate on: queries, a corpus, and which documents answer which query."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

from matryoshka.errors import DataError

HIGHEST = 2**31 - 1  # of grades


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and documents by id, and the documents that answer each query.

    relevant: query -> the ids of its answers, or each id -> its grade, as in {"q1": frozenset(["d1"])} and
    {"q1": {"d1": 3, "d2": 0}}; a grade of 0 or below is no answer. Queries without an answer are dropped, as BEIR and
    sentence-transformers do. repeated: rows of a file that ask a question again, each of which only brings an answer.
    Raises DataError if nothing remains, an answer is not in the corpus, or a grade is no whole number: trec_eval reads
    no others.
    """

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevant: Mapping[str, Collection[str]]
    repeated: int = 0

    def __post_init__(self) -> None:
        kept = {query: text for query, text in self.queries.items() if self.grades.get(query)}
        if not kept:
            raise DataError(f"{self.name}: no query has a relevant document; check the ids of the qrels")
        for query in kept:
            # One by one: a difference of keys would go through the whole corpus for each query.
            unknown = [document for document in self.grades[query] if document not in self.corpus]
            if unknown:
                raise DataError(
                    f"{self.name}: query {query!r} names document {min(unknown)!r}, which is not in the corpus"
                )
            if wrong := [grade for grade in self.grades[query].values() if not _is_whole(grade)]:
                raise DataError(
                    f"{self.name}: query {query!r} has the grade {wrong[0]}, no whole number up to {HIGHEST}"
                )
        object.__setattr__(self, "queries", kept)

    @cached_property
    def grades(self) -> Mapping[str, Mapping[str, int]]:
        """query -> document -> grade above 0: 1 where only the ids are given."""
        return {query: _grades(judged) for query, judged in self.relevant.items()}

    @property
    def graded(self) -> bool:
        """Whether any answer has another grade than 1."""
        return any(grade != 1 for query in self.queries for grade in self.grades[query].values())

    def searched_part(self, document: str) -> str:
        """What is searched as one corpus: of a set of several sources the document's own, else all of it."""
        return ""

    def described(self, queries: str = "queries") -> str:
        """How many queries and documents; and rows that repeat a question, if any do. queries: what they are."""
        said = f"{len(self.queries):,} {queries} over {len(self.corpus):,} documents"
        if not self.repeated:
            return said
        rows = f"{self.repeated:,} row{'s' if self.repeated > 1 else ''}"
        return f"{said}; {rows} more of the same questions: rows of one question are one query with all its answers"

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all ids, texts and judgements: equal sets have equal fingerprints, whatever their order."""
        digest = hashlib.sha256()
        for part in (self.queries, self.corpus):
            for key, text in sorted(part.items()):
                digest.update(f"{len(key)} {len(text)} {key} {text}\n".encode("utf-8", "surrogatepass"))
        graded = self.graded
        for query in sorted(self.queries):
            grades = sorted(self.grades[query].items())
            digest.update(f"{query} {grades if graded else [document for document, _ in grades]}\n".encode())
        return digest.hexdigest()


def _is_whole(grade: object) -> bool:
    return isinstance(grade, Integral) and int(grade) <= HIGHEST


def _grades(judged: Collection[str]) -> Mapping[str, int]:
    if isinstance(judged, Mapping):
        return {document: grade for document, grade in judged.items() if not grade <= 0}  # NaN stays, to be refused
    return dict.fromkeys(judged, 1)
