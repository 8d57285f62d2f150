"""The grade of any pair of a query and a document, by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
