"""A retrieval set whose texts are tokenized: once, for however many evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Prompt
from matryoshka.errors import DataError
from matryoshka.evaluation.judgements import Judgements

Tokenize = Callable[[list[str], Prompt], Sequence[Sequence[int]] | TokenIds]


@dataclass(frozen=True)
class TokenizedSet:
    """Distinct token ids of the queries and of the documents, and which of them each query and each document has.

    query_ids: in the set's order; document_ids: ascending. queries_Q, documents_N: rows of `queries` and `documents`.
    """

    data: RetrievalSet
    query_ids: list[str]
    document_ids: list[str]
    queries: TokenIds
    documents: TokenIds
    queries_Q: Tensor
    documents_N: Tensor

    @classmethod
    def of(cls, data: RetrievalSet, tokenize: Tokenize) -> TokenizedSet:
        """Tokenize each distinct text; those that are equal up to where they are cut count as one.

        Raises DataError for a text of no tokens.
        """
        query_ids, document_ids = list(data.queries), sorted(data.corpus)
        queries, queries_Q = _distinct(data.queries, query_ids, "query", tokenize)
        documents, documents_N = _distinct(data.corpus, document_ids, "document", tokenize)
        return cls(data, query_ids, document_ids, queries, documents, queries_Q, documents_N)

    @cached_property
    def judgements(self) -> Judgements:
        """Which documents answer which query, by the rows of these ids."""
        return Judgements(self.data, self.query_ids, self.document_ids)

    @property
    def tokens(self) -> int:
        """Tokens of all texts, each distinct one once."""
        return len(self.queries.flat) + len(self.documents.flat)

    def distinct_tokens(self) -> set[int]:
        """All token ids that occur."""
        return self.queries.distinct() | self.documents.distinct()


def _distinct(
    texts: Mapping[str, str], order: Sequence[str], kind: Prompt, tokenize: Tokenize
) -> tuple[TokenIds, Tensor]:
    """The distinct token ids of the texts, and for each text, in order, which of them it has."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts[name] for name in order))}
    found = tokenize(list(row_of), kind)
    ids, rows = (found if isinstance(found, TokenIds) else TokenIds.of(found)).without_copies()
    rows_N = torch.from_numpy(rows)[[row_of[texts[name]] for name in order]]
    if not ids.lengths.all():
        name = order[int((rows_N == int(ids.lengths.argmin())).nonzero()[0])]
        raise DataError(f"{kind} {name!r} has no tokens: it is empty, and the tokenizer adds none of its own")
    return ids, rows_N
