"""Which documents answer which query, as they are and with copies merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from matryoshka.data.copies import first_copies
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.ties import TiedRanks
from matryoshka.evaluation.uncertainty import clusters


@dataclass(frozen=True)
class Judgements:
    """A retrieval set's judgements by row: row q is the query query_ids[q], row n the document document_ids[n]."""

    data: RetrievalSet
    query_ids: Sequence[str]
    document_ids: Sequence[str]

    @cached_property
    def copy_of_N(self) -> Tensor:
        """For each document the row of the first that it is a copy of: its own if there is none before it."""
        return torch.tensor(first_copies(self.data.corpus[document] for document in self.document_ids))

    @property
    def copies(self) -> int:
        """Documents that are copies of one before them."""
        return int((self.copy_of_N != torch.arange(len(self.copy_of_N))).sum())

    @cached_property
    def answers(self) -> list[list[int]]:
        """For each query the rows of the documents that answer it, ascending."""
        row_of = {document: row for row, document in enumerate(self.document_ids)}
        return [sorted(row_of[document] for document in self.data.relevant[query]) for query in self.query_ids]

    @cached_property
    def merged_answers(self) -> list[list[int]]:
        """For each query the merged documents that answer it, each by the row of its first copy."""
        return [self.copy_of_N[answers].unique().tolist() for answers in self.answers]

    @cached_property
    def clusters_Q(self) -> Tensor:
        """Queries of equal number share a merged answer, directly or over others."""
        return torch.from_numpy(clusters(self.merged_answers))

    def total_Q(self, *, merged: bool) -> Tensor:
        """How many documents answer each query."""
        return self._merged_total_Q if merged else self._total_Q

    def relevant(self, documents_QK: Tensor, queries_Q: Tensor, *, merged: bool) -> Tensor:
        """Which documents, given by row, -1 for none, answer the query of their line, (Q, K) of bool."""
        keys = self._merged_keys if merged else self._keys
        rows_QK = self.copy_of_N[documents_QK] if merged else documents_QK
        asked_QK = queries_Q[:, None] * len(self.document_ids) + rows_QK
        place_QK = torch.searchsorted(keys, asked_QK).clamp(max=len(keys) - 1)
        return (keys[place_QK] == asked_QK) & (documents_QK >= 0)

    def perfect(self, k: int) -> TiedRanks:
        """The first k ranks of a perfect retriever, as is.

        It finds the right texts, those first of whose copies the largest share counts as right; which of the copies
        come first is chance, as they are one text. So no retriever that sees nothing but texts has a higher precision,
        recall or nDCG on average, nor a higher value of any metric where each query has one right text.
        """
        texts = [self.data.corpus[document] for document in self.document_ids]
        first: dict[str, int] = {}
        text_N = torch.tensor([first.setdefault(text, row) for row, text in enumerate(texts)])
        copies_N = text_N.bincount(minlength=len(texts))
        size_Qk, place_Qk = (torch.ones(len(self.query_ids), k, dtype=torch.float64) for _ in range(2))
        relevant_Qk, before_Qk = (torch.zeros(len(self.query_ids), k, dtype=torch.float64) for _ in range(2))
        for query, answers in enumerate(self.answers):
            found, counts = text_N[answers].unique(return_counts=True)
            rank = met = 0
            for size, right in sorted(zip(copies_N[found].tolist(), counts.tolist(), strict=True), key=_by_share):
                group = slice(rank, rank + size)
                size_Qk[query, group], relevant_Qk[query, group], before_Qk[query, group] = size, right, met
                place_Qk[query, group] = torch.arange(1.0, size + 1)[: max(0, k - rank)].double()
                rank, met = rank + size, met + right
            before_Qk[query, rank:] = met
        return TiedRanks(size_Qk, relevant_Qk, place_Qk, before_Qk)

    @cached_property
    def _total_Q(self) -> Tensor:
        return torch.tensor(list(map(len, self.answers)))

    @cached_property
    def _merged_total_Q(self) -> Tensor:
        return torch.tensor(list(map(len, self.merged_answers)))

    @cached_property
    def _keys(self) -> Tensor:
        return self._as_keys(self.answers)

    @cached_property
    def _merged_keys(self) -> Tensor:
        return self._as_keys(self.merged_answers)

    def _as_keys(self, answers: list[list[int]]) -> Tensor:
        """Each pair of a query and its answer as one number, ascending."""
        documents = len(self.document_ids)
        return torch.tensor([query * documents + row for query, rows in enumerate(answers) for row in rows])


def _by_share(group: tuple[int, int]) -> tuple[float, int]:
    size, right = group
    return -right / size, size
