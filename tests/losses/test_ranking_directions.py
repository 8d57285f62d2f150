"""Ranking against further negatives, by loops over pairs and texts; parity with others stands in tests/parity."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn

from matryoshka.data.negatives import KnownPositives
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.losses.ranking_directions import PartitionMode, Pool, RankingDirectionsLoss
from tests.composing import problems
from tests.losses.test_matryoshka import cosine, draw

EVERY: list[Pool] = list(get_args(Pool))
ALL = [["anchor_to_positive", *more] for n in range(4) for more in itertools.combinations(EVERY[1:], n)]
APART = [["anchor_to_positive"], ["anchor_to_positive", "positive_to_anchor"]]
WAYS: list[tuple[PartitionMode, list[Pool]]] = [
    *(("joint", ways) for ways in ALL),  # type: ignore[misc]
    *(("per_direction", ways) for ways in APART),  # type: ignore[misc]
]
# Numbers of texts, by row: rows 0 and 3 ask the same, rows 1 and 4 have one passage; row 2's negative is row 0's.
TEXTS = [(0, 10, 20), (1, 11, 21), (2, 12, 10), (0, 13, 23), (4, 11, 24)]
MASK_BN = KnownPositives(TEXTS, Dataset.from_dict({})).mask(range(5))


def by_loop(
    anchors_BD: Tensor, candidates_ND: Tensor, mask_BN: Tensor | None, directions: list[Pool], mode: PartitionMode
) -> Tensor:
    """One pair after the other: the exponentials of each pool's scores that count."""
    rows, losses = len(anchors_BD), []
    texts = torch.cat([anchors_BD, candidates_ND])
    scores = 20 * cosine(texts, texts, anchors_BD.shape[1])

    def masked(anchor: int, candidate: int) -> bool:
        return mask_BN is not None and anchor != candidate and bool(mask_BN[anchor, candidate])

    for i in range(rows):
        pools: dict[str, list[Tensor]] = {name: [] for name in EVERY}
        for j in range(len(candidates_ND)):
            if not masked(i, j):
                pools["anchor_to_positive"].append(scores[i, rows + j])
            other_way = j < rows and masked(j, i)
            if j % rows != i and not masked(i, j) and not other_way:
                pools["positive_to_positive"].append(scores[rows + i, rows + j])
        for k in range(rows):
            if not masked(k, i):
                pools["positive_to_anchor"].append(scores[rows + i, k])
            if k != i and not masked(i, k) and not masked(k, i):
                pools["anchor_to_anchor"].append(scores[i, k])
        chosen = [pools[name] for name in EVERY if name in directions]
        if mode == "joint":
            chosen = [[score for pool in chosen for score in pool]]
        logs = [torch.stack(pool).exp().sum().log() for pool in chosen]
        losses.append(torch.stack(logs).mean() - scores[i, rows + i])
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("mode", "directions"), WAYS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("one_dim_at_a_time", [False, True])
def test_equals_loops_over_pairs(
    mode: PartitionMode, directions: list[Pool], masked: bool, one_dim_at_a_time: bool
) -> None:
    inputs = (draw(5, 24).requires_grad_(), draw(10, 24, seed=1).requires_grad_())
    mask_BN = MASK_BN if masked else None
    assert masked == (mask_BN is not None)
    loss = MatryoshkaLoss(RankingDirectionsLoss(directions, 20.0, mode), [24, 5], [1.0, 0.5])

    total = loss(*inputs, mask_BN, one_dim_at_a_time=one_dim_at_a_time).total
    whole, narrow = (by_loop(*(x[:, :dim] for x in inputs), mask_BN, directions, mode) for dim in (24, 5))  # type: ignore[misc]
    expected = whole + 0.5 * narrow
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-11)
    for found, wanted in zip(torch.autograd.grad(total, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_equal_texts_are_no_negatives_of_each_other() -> None:
    """What a pair's loss holds besides its own score: nothing that is the same text, or answers the same question."""
    zeros = {"anchors_BB": torch.zeros(5, 5), "positives_BN": torch.zeros(5, 10)}
    similarity_BN = torch.full((5, 10), -1.0).fill_diagonal_(0.0)
    pool = {}
    for name in ("anchor_to_anchor", "positive_to_positive"):
        loss = RankingDirectionsLoss(["anchor_to_positive", name], 1.0)  # type: ignore[list-item]
        pool[name] = _counts(loss, similarity_BN, MASK_BN, zeros)
    # Of 4 other anchors row 0 has row 3's as its own, and row 1 has row 4's passage.
    assert pool["anchor_to_anchor"] == [3, 3, 4, 3, 3]
    # Of 4 other positives and 4 other rows' negatives; row 2's negative is row 0's passage, which answers row 3 too.
    assert pool["positive_to_positive"] == [6, 7, 8, 6, 7]


def _counts(
    loss: RankingDirectionsLoss, similarity_BN: Tensor, mask_BN: Tensor | None, zeros: dict[str, Tensor]
) -> list[int]:
    """How many scores of the further pool each pair has: those that have a gradient."""
    name = "anchors_BB" if "anchor_to_anchor" in loss.directions else "positives_BN"
    leaf = zeros[name].clone().requires_grad_()
    loss(similarity_BN, mask_BN, **{**zeros, name: leaf}).backward()
    assert leaf.grad is not None
    return (leaf.grad != 0).sum(1).tolist()


def test_one_direction_is_the_ranking_loss() -> None:
    inputs, mask_BN = (draw(5, 24), draw(10, 24, seed=1)), MASK_BN
    for mode in get_args(PartitionMode):
        found = MatryoshkaLoss(RankingDirectionsLoss(["anchor_to_positive"], 20.0, mode), [24, 5])(*inputs, mask_BN)
        torch.testing.assert_close(found.total, MatryoshkaLoss(RankingLoss(), [24, 5])(*inputs, mask_BN).total)
    two: list[Pool] = ["anchor_to_positive", "positive_to_anchor"]
    found = MatryoshkaLoss(RankingDirectionsLoss(two, 20.0, "per_direction"), [24, 5])(*inputs, mask_BN)
    both = MatryoshkaLoss(RankingLoss(direction="both"), [24, 5])(*inputs, mask_BN)
    torch.testing.assert_close(found.total, both.total)


def test_gradcheck() -> None:
    loss = MatryoshkaLoss(RankingDirectionsLoss(EVERY, 2.0), [4, 3, 1], [1.0, 0.5, 2.0])

    inputs = (draw(3, 4).requires_grad_(), draw(6, 4, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda a, c: loss(a, c).total, inputs)


def test_a_loss_of_single_matrices_gets_those_of_its_dim() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = RankingDirectionsLoss(EVERY)

        def forward(self, similarity_BN: Tensor, *, anchors_BB: Tensor, positives_BN: Tensor) -> Tensor:
            assert similarity_BN.dim() == anchors_BB.dim() == positives_BN.dim() == 2
            return self.inner(similarity_BN, anchors_BB=anchors_BB, positives_BN=positives_BN)  # type: ignore[no-any-return]

    both = draw(6, 24), draw(12, 24, seed=1)
    dims = [24, 16, 5]
    single, stacked = (MatryoshkaLoss(loss, dims)(*both) for loss in (Single(), RankingDirectionsLoss(EVERY)))
    torch.testing.assert_close(single.losses_K, stacked.losses_K, rtol=0, atol=1e-12)
    assert MatryoshkaLoss(Single(), dims).needs == set()


@pytest.mark.parametrize(
    ("directions", "mode", "said"),
    [
        (["positive_to_anchor"], "joint", "add anchor_to_positive"),
        ([], "joint", "add anchor_to_positive"),
        (EVERY, "per_direction", "anchor_to_anchor, positive_to_positive cannot stand alone; use partition_mode=joint"),
    ],
)
def test_directions_that_do_not_go_together_are_refused(directions: list[Pool], mode: PartitionMode, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RankingDirectionsLoss(directions, 20.0, mode)


def test_a_direction_that_there_is_none_of_is_said_before_anything_is_built() -> None:
    ((key, message),) = problems("loss=ranking_directions", "loss.directions=[anchor_to_positive,query_to_query]")
    assert key == "loss.directions[1]"
    assert "anchor_to_anchor" in message
