"""A retrieval set whose texts are embedded: what a projection can be tried on without encoding anything."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.nearest import Documents
from matryoshka.evaluation.tokenized_set import TokenizedSet


@dataclass(frozen=True)
class SetVectors:
    """queries_QD: an embedding a query. documents_UD: of each distinct text, which document n has documents_N[n].

    Rows are those of the judgements. Documents may be mapped from a file: they are read chunk by chunk.
    """

    judgements: Judgements
    queries_QD: Tensor
    documents_UD: Documents
    documents_N: Tensor

    @classmethod
    def of(cls, texts: TokenizedSet, queries_UD: Tensor, documents_UD: Documents) -> SetVectors:
        """From the embeddings of a set's distinct texts."""
        return cls(texts.judgements, queries_UD[texts.queries_Q], documents_UD, texts.documents_N)

    def projected(self, matrix_DE: Tensor, *, documents: bool = True) -> SetVectors:
        """The queries behind the matrix, and the documents too unless only queries have one."""
        behind_UE = ProjectedRows(self.documents_UD, matrix_DE) if documents else self.documents_UD
        return replace(self, queries_QD=self.queries_QD.float() @ matrix_DE, documents_UD=behind_UE)

    def merged(self) -> tuple[Tensor, Tensor, list[dict[int, int]]]:
        """Queries, one vector a merged document, and for each query the rows of its answers -> their grades."""
        judgements = self.judgements
        first_N = judgements.copy_of_N == torch.arange(len(judgements.copy_of_N))
        row_N = first_N.cumsum(0) - 1
        answers = [dict(zip(row_N[list(of)].tolist(), of.values(), strict=True)) for of in judgements.merged_answers]
        return self.queries_QD, self.documents_UD[:, :][self.documents_N[first_N]], answers


class ProjectedRows:
    """Rows behind a matrix, computed when they are read."""

    def __init__(self, rows_ND: Documents, matrix_DE: Tensor) -> None:
        self.rows_ND, self.matrix_DE = rows_ND, matrix_DE

    def __len__(self) -> int:
        return len(self.rows_ND)

    def __getitem__(self, place: tuple[slice, slice]) -> Tensor:
        rows, columns = place
        behind_SE: Tensor = self.rows_ND[rows, :].float() @ self.matrix_DE[:, columns]
        return behind_SE


class ChosenRows:
    """Some rows of a matrix, perhaps of a file, read when they are asked for."""

    def __init__(self, rows_ND: Tensor, chosen_U: Tensor) -> None:
        self.rows_ND, self.chosen_U = rows_ND, chosen_U

    def __len__(self) -> int:
        return len(self.chosen_U)

    def __getitem__(self, place: tuple[slice, slice]) -> Tensor:
        rows, columns = place
        return self.rows_ND[self.chosen_U[rows]][:, columns].float()
