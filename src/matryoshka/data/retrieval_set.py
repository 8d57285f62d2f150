"""What an evaluation searches: queries, a corpus, and which documents answer which query."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from matryoshka.errors import DataError


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and documents by id, and the ids of the documents that answer each query.

    Queries without a relevant document are dropped, as BEIR and sentence-transformers do.
    Raises DataError if nothing remains or a relevant document is not in the corpus.
    """

    name: str
    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevant: Mapping[str, frozenset[str]]

    def __post_init__(self) -> None:
        kept = {query: text for query, text in self.queries.items() if self.relevant.get(query)}
        if not kept:
            raise DataError(f"{self.name}: no query has a relevant document; check the ids of the qrels")
        for query in kept:
            unknown = self.relevant[query] - self.corpus.keys()
            if unknown:
                raise DataError(
                    f"{self.name}: query {query!r} names document {min(unknown)!r}, which is not in the corpus"
                )
        object.__setattr__(self, "queries", kept)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all ids, texts and judgements: equal sets have equal fingerprints, whatever their order."""
        digest = hashlib.sha256()
        for part in (self.queries, self.corpus):
            for key, text in sorted(part.items()):
                digest.update(f"{len(key)} {len(text)} {key} {text}\n".encode("utf-8", "surrogatepass"))
        for query in sorted(self.queries):
            digest.update(f"{query} {sorted(self.relevant[query])}\n".encode())
        return digest.hexdigest()
