"""Which documents answer which query, as they are and with copies merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    def answers(self) -> list[dict[int, int]]:
        """For each query the documents that answer it: row -> grade, by ascending row."""
        row_of = {document: row for row, document in enumerate(self.document_ids)}
        rows = ({row_of[document]: grade for document, grade in self.data.grades[q].items()} for q in self.query_ids)
        return [dict(sorted(grades.items())) for grades in rows]

    @cached_property
    def merged_answers(self) -> list[dict[int, int]]:
        """The same of merged documents, each by the row of its first copy: the highest grade of its copies counts."""
        first_N, merged = self.copy_of_N.tolist(), []
        for answers in self.answers:
            by_grade = sorted(answers.items(), key=lambda answer: answer[1])
            merged.append(dict(sorted({first_N[row]: grade for row, grade in by_grade}.items())))
        return merged

    @cached_property
    def clusters_Q(self) -> Tensor:
        """Queries of equal number share a merged answer, directly or over others."""
        return torch.from_numpy(clusters(self.merged_answers))

    def all_grades(self, *, merged: bool) -> Tensor:
        """The grades of the documents that answer each query, the highest first, 0 behind the last, (Q, R)."""
        return (self._merged if merged else self._as_is).all_QR

    def grades(self, documents_QK: Tensor, queries_Q: Tensor, *, merged: bool) -> Tensor:
        """How well documents, given by row, -1 for none, answer the query of their line, (Q, K); 0 for not at all."""
        if merged:
            documents_QK = torch.where(documents_QK >= 0, self.copy_of_N[documents_QK], -1)
        return (self._merged if merged else self._as_is).of_pairs(queries_Q[:, None], documents_QK)

    def perfect(self, k: int, *, graded: bool) -> TiedRanks:
        """The first k ranks of a perfect retriever, as is.

        It finds the right texts, those first of whose copies the largest share counts as right, or graded, whose copies
        have the highest mean grade; which of the copies come first is chance, as they are one text. So no retriever
        that sees nothing but texts has a higher precision or recall on average, graded a higher nDCG, nor a higher
        value of any metric where each query has one right text.
        """
        texts = [self.data.corpus[document] for document in self.document_ids]
        first: dict[str, int] = {}
        text_N = torch.tensor([first.setdefault(text, row) for row, text in enumerate(texts)])
        copies_N = text_N.bincount(minlength=len(texts))
        shape = len(self.query_ids), k
        size_Qk, place_Qk = (torch.ones(shape, dtype=torch.float64) for _ in range(2))
        relevant_Qk, before_Qk, gain_Qk = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        for query, answers in enumerate(self.answers):
            found_F, text_A = text_N[list(answers)].unique(return_inverse=True)
            right_F, gain_F = text_A.bincount(), text_A.bincount(torch.tensor(list(answers.values())).double())
            worth_F = (gain_F if graded else right_F.double()) / copies_N[found_F]
            rank = met = 0
            for _, size, right, gain in sorted(
                zip(*(x_F.tolist() for x_F in (-worth_F, copies_N[found_F], right_F, gain_F)), strict=True)
            ):
                group = slice(rank, rank + size)
                size_Qk[query, group], relevant_Qk[query, group], before_Qk[query, group] = size, right, met
                place_Qk[query, group] = torch.arange(1.0, size + 1)[: max(0, k - rank)].double()
                gain_Qk[query, group] = gain
                rank, met = rank + size, met + right
            before_Qk[query, rank:] = met
        return TiedRanks(size_Qk, relevant_Qk, place_Qk, before_Qk, gain_Qk)

    @cached_property
    def _as_is(self) -> Grades:
        return Grades.of(self.answers, len(self.document_ids))

    @cached_property
    def _merged(self) -> Grades:
        return Grades.of(self.merged_answers, len(self.document_ids))


@dataclass(frozen=True)
class Grades:
    """Which documents answer which query, and how well.

    keys_A: query * documents + document of every answer, ascending. grade_A: its grade. all_QR: each query's grades,
    the highest first, 0 behind the last.
    """

    documents: int
    keys_A: Tensor
    grade_A: Tensor
    all_QR: Tensor

    @classmethod
    def of(cls, answers: Sequence[Mapping[int, int]], documents: int) -> Grades:
        """From each query's answers, at least one: document -> grade above 0, out of so many documents."""
        count_Q = torch.tensor(list(map(len, answers)))
        query_A = torch.arange(len(answers)).repeat_interleave(count_Q)
        place_A = torch.arange(len(query_A)) - (count_Q.cumsum(0) - count_Q)[query_A]
        document_A = torch.tensor([document for grades in answers for document in grades])
        grade_A = torch.tensor([grade for grades in answers for grade in grades.values()])
        best_A = grade_A.argsort(descending=True)
        best_A = best_A[query_A[best_A].argsort(stable=True)]  # query by query, the highest first
        all_QR = torch.zeros(len(answers), int(count_Q.max()), dtype=torch.int64)
        all_QR[query_A, place_A] = grade_A[best_A]
        keys_A, order_A = (query_A * documents + document_A).sort()
        return cls(documents, keys_A, grade_A[order_A], all_QR)

    def of_pairs(self, queries: Tensor, documents: Tensor) -> Tensor:
        """The grade of each pair, 0 where the document does not answer the query or is -1."""
        keys_A, grade_A = self.keys_A.to(queries.device), self.grade_A.to(queries.device)
        asked = queries * self.documents + documents
        place = torch.searchsorted(keys_A, asked).clamp(max=len(keys_A) - 1)
        return torch.where((keys_A[place] == asked) & (documents >= 0), grade_A[place], 0)
