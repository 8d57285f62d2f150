"""BM25, the baseline without a model: which documents share rare words with a query."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import Stemmer
from annotated_types import Ge, Le

from matryoshka.data.copies import WORD, normalised
from matryoshka.errors import UserError

if TYPE_CHECKING:  # loaded where it is searched: a check of the arguments can do without
    from matryoshka.evaluation.nearest import Hits

# Of Snowball's languages those of which bm25s has stop words (NLTK's lists); in the others every word counts.
STOP_WORDS = (
    *("danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian"),
    *("spanish", "swedish", "turkish"),
)


class BM25:
    """BM25 as Lucene computes it, over the stems of words.

    Words are those that tell copies apart (data/copies.py), so copies score alike; stop words are left out, then
    Snowball's stemmer takes endings off. k1: how slowly a word that repeats stops counting more. b: how far long
    documents are marked down, from 0 to 1. Source: Lù 2024, arXiv:2407.03618 (bm25s, method "lucene").
    """

    def __init__(
        self,
        language: str = "german",
        k1: Annotated[float, Ge(0), "{} is not 0 or more; 1.2 to 2 is usual"] = 1.5,
        b: Annotated[float, Ge(0), Le(1), "{} is not from 0 to 1; 0.75 is usual"] = 0.75,
    ) -> None:
        self.language = language
        self.k1 = k1
        self.b = b

    def problems(self) -> Iterator[tuple[str, str]]:
        """A language without a stemmer, as (argument, message)."""
        languages = Stemmer.algorithms()
        if self.language not in languages:
            yield "language", f"{self.language!r} has no stemmer; there are {', '.join(languages)}"

    def search(self, queries: Sequence[str], documents: Sequence[str], k: int) -> Hits:
        """The k documents of the highest score for every query: documents_Qk int64, similarities_Qk (scores) fp32.

        Score descending, then row number ascending. Documents that share no word with the query are no hits: where
        fewer than k do, row -1 and score -inf. k is cut to the number of documents. Raises UserError for arguments of
        which `problems` tells.
        """
        return self.index(documents).search(queries, k)

    def index(self, documents: Sequence[str]) -> Index:
        """The documents ready to be searched, however often. Raises UserError as `search` does."""
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it asks for its debug messages to be shown
        for argument, message in self.problems():
            raise UserError(f"bm25.{argument}: {message}")
        words = self.words(documents)
        if not any(words):  # bm25s needs a vocabulary
            return Index(self, len(documents), None)
        index = bm25s.BM25(self.k1, self.b, method="lucene", dtype="float64")
        index.index(words, show_progress=False)
        return Index(self, len(documents), index)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The stems of each text's words, in their order, without stop words."""
        import bm25s

        stems: list[list[str]] = bm25s.tokenize(
            [normalised(text) for text in texts],
            token_pattern=WORD.pattern,
            stopwords=self.language if self.language in STOP_WORDS else None,
            stemmer=Stemmer.Stemmer(self.language),
            return_ids=False,  # ids are numbered by a set, in another order in every process
            show_progress=False,
        )
        return stems


@dataclass(frozen=True)
class Index:
    """Documents indexed by bm25s; None if they have no words."""

    bm25: BM25
    documents: int
    index: Any

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """As BM25.search."""
        import numpy as np
        import torch

        from matryoshka.evaluation.nearest import Hits

        k = min(k, self.documents)
        documents_Qk = np.full((len(queries), k), -1)
        scores_Qk = np.full((len(queries), k), -np.inf, np.float32)
        for row, query in enumerate(self.bm25.words(queries) if self.index is not None else ()):
            scores_N = self.index.get_scores_from_ids(self.index.get_tokens_ids(query)).astype(np.float32)
            found = scores_N.nonzero()[0]
            best = found[np.argsort(-scores_N[found], kind="stable")[:k]]
            documents_Qk[row, : len(best)], scores_Qk[row, : len(best)] = best, scores_N[best]
        return Hits(torch.from_numpy(documents_Qk), torch.from_numpy(scores_Qk))
