"""Every query of an evaluation: what it found at every dim, and how good that was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet


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
