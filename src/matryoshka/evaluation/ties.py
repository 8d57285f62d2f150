"""What a metric is worth on average where documents are equally similar, so that their order means nothing.

The expectation over all orders of tied documents, each equally likely, in closed form. Source: McSherry & Najork 2008,
"Computing information retrieval performance measures efficiently in the presence of tied scores".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from matryoshka.evaluation.metrics import ideal_gain, total


@dataclass(frozen=True)
class TiedRanks:
    """For each rank of each query, all (Q, K), fp64, the group of equally similar documents that it belongs to.

    size, relevant: documents in the group, and those of them that answer the query. place: the rank's number in the
    group, from 1. before: documents before the group that answer the query. gain: the sum of the group's grades.
    """

    size_QK: Tensor
    relevant_QK: Tensor
    place_QK: Tensor
    before_QK: Tensor
    gain_QK: Tensor

    @classmethod
    def of(
        cls,
        similarities_QK: Tensor,
        grade_QK: Tensor,
        last: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> TiedRanks:
        """From hits by descending similarity and their grades; -inf where a query has no more: there each is alone.

        last: of all documents of the corpus that are as similar as the last of the K hits, how many there are, how many
        of them answer the query, and the sum of their grades, (Q,) each; None if the hits have all of these.
        """
        found_QK = torch.isfinite(similarities_QK)
        starts_QK = torch.ones_like(found_QK)
        starts_QK[:, 1:] = (similarities_QK[:, 1:] != similarities_QK[:, :-1]) | ~found_QK[:, 1:]
        group_QK = starts_QK.cumsum(1) - 1
        zeros_QK = torch.zeros(grade_QK.shape, dtype=torch.float64, device=grade_QK.device)
        gain_QK = torch.where(found_QK, grade_QK, 0).double()
        counted = [torch.ones_like(zeros_QK), (gain_QK > 0).double(), gain_QK]
        size_QG, relevant_QG, gain_QG = (zeros_QK.scatter_add(1, group_QK, x_QK) for x_QK in counted)
        before_QG = relevant_QG.cumsum(1) - relevant_QG
        first_QG = size_QG.cumsum(1) - size_QG
        if last is not None:
            wholes = zip((size_QG, relevant_QG, gain_QG), last, strict=True)
            size_QG, relevant_QG, gain_QG = (
                x_QG.scatter(1, group_QK[:, -1:], last_Q[:, None].double()) for x_QG, last_Q in wholes
            )
        rank_QK = _ranks(gain_QK).expand_as(gain_QK)
        return cls(
            size_QG.gather(1, group_QK),
            relevant_QG.gather(1, group_QK),
            rank_QK - first_QG.gather(1, group_QK),
            before_QG.gather(1, group_QK),
            gain_QG.gather(1, group_QK),
        )

    def first(self, k: int) -> TiedRanks:
        """The first k ranks."""
        return TiedRanks(*(x_QK[:, :k] for x_QK in self._all))

    def with_rows(self, rows_M: Tensor, other: TiedRanks) -> TiedRanks:
        """The same with the rows of M queries from another, of as many ranks."""
        return TiedRanks(*(x_QK.index_copy(0, rows_M, y_MK) for x_QK, y_MK in zip(self._all, other._all, strict=True)))

    @property
    def _all(self) -> tuple[Tensor, ...]:
        return self.size_QK, self.relevant_QK, self.place_QK, self.before_QK, self.gain_QK

    def chance(self, k: int) -> Tensor:
        """The chance that the document at each of the first k ranks answers the query, (Q, k)."""
        return (self.relevant_QK / self.size_QK)[:, :k]

    def none_so_far(self, k: int) -> Tensor:
        """The chance that up to each of the first k ranks no document answers the query, (Q, k)."""
        left_QK = self.size_QK - self.place_QK + 1
        hazard_QK = (self.relevant_QK / left_QK).clamp(max=1.0)  # beyond 1 an answer has been met for sure
        return (1 - hazard_QK[:, :k]).cumprod(1)


def expected_accuracy(ranks: TiedRanks, all_QR: Tensor, k: int) -> Tensor:
    """The chance that any of the first k answers the query, (Q,)."""
    return 1 - ranks.none_so_far(k)[:, -1]


def expected_precision(ranks: TiedRanks, all_QR: Tensor, k: int) -> Tensor:
    """Expected share of answers among the first k, (Q,)."""
    return ranks.chance(k).sum(1) / k


def expected_recall(ranks: TiedRanks, all_QR: Tensor, k: int) -> Tensor:
    """Expected share of all answers that are among the first k, (Q,)."""
    return ranks.chance(k).sum(1) / total(all_QR)


def expected_mrr(ranks: TiedRanks, all_QR: Tensor, k: int) -> Tensor:
    """Expected reciprocal rank of the first answer among the first k, (Q,)."""
    none_Qk = ranks.none_so_far(k)
    before_Qk = torch.cat([torch.ones_like(none_Qk[:, :1]), none_Qk[:, :-1]], 1)
    return ((before_Qk - none_Qk) / _ranks(none_Qk)).sum(1)


def expected_ndcg(ranks: TiedRanks, all_QR: Tensor, k: int) -> Tensor:
    """Expected discounted gain of the first k by the largest there can be, (Q,)."""
    gain_Qk = (ranks.gain_QK / ranks.size_QK)[:, :k]
    return (gain_Qk / torch.log2(_ranks(gain_Qk) + 1)).sum(1) / ideal_gain(all_QR, k)


def expected_average_precision(ranks: TiedRanks, all_QR: Tensor, k: int) -> Tensor:
    """Expected precision at the rank of each answer among the first k, summed, by min(k, all answers), (Q,)."""
    chance_Qk = ranks.chance(k)
    others_QK = (ranks.relevant_QK - 1) / (ranks.size_QK - 1).clamp(min=1)  # of one answer: the others' chance
    found_QK = ranks.before_QK + 1 + (ranks.place_QK - 1) * others_QK
    return (chance_Qk * found_QK[:, :k] / _ranks(chance_Qk)).sum(1) / total(all_QR).clamp(max=k)


Expected = Callable[[TiedRanks, Tensor, int], Tensor]
EXPECTED: Mapping[str, Expected] = {
    "accuracy": expected_accuracy,
    "precision": expected_precision,
    "recall": expected_recall,
    "ndcg": expected_ndcg,
    "mrr": expected_mrr,
    "map": expected_average_precision,
}


def _ranks(x_Qk: Tensor) -> Tensor:
    return torch.arange(1, x_Qk.shape[1] + 1, device=x_Qk.device).double()
