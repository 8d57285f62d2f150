"""A retrieval set whose texts are tokenized: once, for however many evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Prompt

Tokenize = Callable[[list[str], Prompt], Sequence[Sequence[int]] | TokenIds]


@dataclass(frozen=True)
class TokenizedSet:
    """Token ids of the distinct queries and documents, and which of them each query and each document has.

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
        """Tokenize each distinct text."""
        query_ids, document_ids = list(data.queries), sorted(data.corpus)
        queries, queries_Q = _distinct([data.queries[query] for query in query_ids])
        documents, documents_N = _distinct([data.corpus[document] for document in document_ids])
        query_tokens, document_tokens = _flat(tokenize(queries, "query")), _flat(tokenize(documents, "document"))
        return cls(data, query_ids, document_ids, query_tokens, document_tokens, queries_Q, documents_N)

    @property
    def tokens(self) -> int:
        """Tokens of all distinct texts."""
        return len(self.queries.flat) + len(self.documents.flat)

    def distinct_tokens(self) -> set[int]:
        """All token ids that occur."""
        return self.queries.distinct() | self.documents.distinct()


def _flat(ids: Sequence[Sequence[int]] | TokenIds) -> TokenIds:
    return ids if isinstance(ids, TokenIds) else TokenIds.of(ids)


def _distinct(texts: list[str]) -> tuple[list[str], Tensor]:
    """The distinct texts, and for each text which of them it is."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    return list(row_of), torch.tensor([row_of[text] for text in texts])
