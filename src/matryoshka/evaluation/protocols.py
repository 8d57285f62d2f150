"""Two ways to read one search, every id a document (as is) or copies as one document (merged), and what each found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.nearest import Hits


@dataclass(frozen=True)
class CopyGroups:
    """Documents whose text a retriever sees once: unit_of_N says which of the texts searched each document has."""

    judgements: Judgements
    unit_of_N: Tensor

    @property
    def units(self) -> int:
        """How many texts are searched."""
        return int(self.unit_of_N.max()) + 1

    @cached_property
    def one_to_one(self) -> bool:
        """Whether nothing has to be spread out or merged: every text is one document, and none is a copy."""
        return not self.judgements.copies and bool((self.unit_of_N == torch.arange(len(self.unit_of_N))).all())

    @cached_property
    def _by_unit(self) -> tuple[Tensor, Tensor]:
        """The documents text by text, (N,), and how many each text has, (U,)."""
        return self.unit_of_N.argsort(stable=True), self.unit_of_N.bincount()

    def depth(self, k: int) -> int:
        """How many texts are to be found so that there are k merged documents, and k as they are, among theirs."""
        pairs = torch.stack([self.judgements.copy_of_N, self.unit_of_N]).unique(dim=1)
        texts_G = pairs[0].unique(return_counts=True)[1].sort(descending=True).values
        return int(texts_G[: k - 1].sum()) + 1

    def spread(self, hits: Hits, k: int) -> Hits:
        """All documents of the texts found, by similarity descending, then by row; -1 and -inf behind the last.

        At least k places, found or not, so that parts of the queries can be put together.
        """
        if self.one_to_one and hits.documents_Qk.shape[1] >= k:
            return hits
        order_N, count_U = self._by_unit
        offset_U = count_U.cumsum(0) - count_U
        found_Qk = hits.documents_Qk >= 0
        count_Qk = torch.where(found_Qk, count_U[hits.documents_Qk], 0)
        line_P = torch.arange(len(count_Qk)).repeat_interleave(count_Qk.sum(1))
        start_P = (count_Qk.flatten().cumsum(0) - count_Qk.flatten()).repeat_interleave(count_Qk.flatten())
        place_P = torch.arange(len(line_P)) - start_P
        document_P = order_N[offset_U[hits.documents_Qk.flatten()].repeat_interleave(count_Qk.flatten()) + place_P]
        column_P = torch.arange(len(line_P)) - (count_Qk.sum(1).cumsum(0) - count_Qk.sum(1))[line_P]
        shape = (len(count_Qk), max(k, int(count_Qk.sum(1).max())))
        documents_QK = torch.full(shape, -1)
        similarities_QK = torch.full(shape, -torch.inf, dtype=hits.similarities_Qk.dtype)
        documents_QK[line_P, column_P] = document_P
        similarities_QK[line_P, column_P] = hits.similarities_Qk.flatten().repeat_interleave(count_Qk.flatten())
        return _sorted(Hits(documents_QK, similarities_QK))

    def merge(self, spread: Hits, k: int) -> Hits:
        """Of each merged document the copy that ranks first: the first k of them."""
        group_QK = torch.where(spread.documents_Qk >= 0, self.judgements.copy_of_N[spread.documents_Qk], -1)
        sorted_QK, order_QK = group_QK.sort(dim=1, stable=True)
        new_QK = torch.ones_like(sorted_QK, dtype=torch.bool)
        new_QK[:, 1:] = sorted_QK[:, 1:] != sorted_QK[:, :-1]
        first_QK = torch.zeros_like(new_QK).scatter(1, order_QK, new_QK) & (spread.documents_Qk >= 0)
        rank_QK = first_QK.cumsum(1) - 1
        line_P, column_P = (first_QK & (rank_QK < k)).nonzero(as_tuple=True)
        documents_Qk = torch.full((len(group_QK), k), -1)
        similarities_Qk = torch.full((len(group_QK), k), -torch.inf, dtype=spread.similarities_Qk.dtype)
        documents_Qk[line_P, rank_QK[line_P, column_P]] = spread.documents_Qk[line_P, column_P]
        similarities_Qk[line_P, rank_QK[line_P, column_P]] = spread.similarities_Qk[line_P, column_P]
        return Hits(documents_Qk, similarities_Qk)


def _sorted(hits: Hits) -> Hits:
    """By similarity descending; equal ones by row ascending."""
    rows_QK, order_QK = hits.documents_Qk.sort(dim=1)
    similarities_QK, again_QK = hits.similarities_Qk.gather(1, order_QK).sort(dim=1, descending=True, stable=True)
    return Hits(rows_QK.gather(1, again_QK), similarities_QK)


@dataclass(frozen=True)
class Ranking:
    """The k best documents of every query at one dim, best first.

    documents_Qk: rows of `Rankings.document_ids`, -1 where a query found fewer. similarities_Qk: fp32, -inf there.
    relevant_Qk: which answer the query. first_hit_Q: the rank of the first that does, from 1; 0 if none of the k does.
    values: metric, as in `ndcg@10` -> (Q,) fp64.
    """

    documents_Qk: Tensor
    similarities_Qk: Tensor
    relevant_Qk: Tensor
    first_hit_Q: Tensor
    values: Mapping[str, Tensor]


@dataclass(frozen=True)
class Rankings:
    """The rankings of one evaluation, by dim, under both protocols.

    as_is: every id is a document of its own. merged: copies are one document, shown as the copy that ranks first.
    query_ids, document_ids: what the rows stand for. clusters_Q: queries of equal number share an answer, so they are
    not independent. copy_of_N: for each document the row of the first document whose text equals its own, normalised.
    """

    data: RetrievalSet
    query_ids: list[str]
    document_ids: list[str]
    as_is: Mapping[int, Ranking]
    merged: Mapping[int, Ranking]
    clusters_Q: Tensor
    copy_of_N: Tensor
