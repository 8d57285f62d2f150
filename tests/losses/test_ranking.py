"""The ranking loss against a loop over its rows."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from matryoshka.losses import RankingLoss, ranking_loss
from matryoshka.losses.ranking import Direction


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_mask(rows: int, candidates: int) -> Tensor:
    return draw(rows, candidates, seed=5) > 0.3


def loss_by_loop(scores_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
    """-log of the share that each row's own candidate has of all exponentials, one row after the other."""
    losses = []
    for i, scores_N in enumerate(scores_BN):
        kept = [j for j in range(len(scores_N)) if j == i or mask_BN is None or not mask_BN[i, j]]
        losses.append(sum(scores_N[j].exp() for j in kept).log() - scores_N[i])  # type: ignore[union-attr]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 8)])
@pytest.mark.parametrize("masked", [False, True])
def test_ranking_loss_equals_a_loop(shape: tuple[int, int], masked: bool) -> None:
    scores_BN = draw(*shape).requires_grad_()
    mask_BN = random_mask(*shape) if masked else None

    loss, expected = ranking_loss(scores_BN, mask_BN), loss_by_loop(scores_BN, mask_BN)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(x, scores_BN)[0] for x in (loss, expected)), rtol=0, atol=1e-12)


def test_gradcheck() -> None:
    scores_BN = draw(3, 5).requires_grad_()

    assert torch.autograd.gradcheck(ranking_loss, (scores_BN,))
    assert torch.autograd.gradcheck(lambda scores: ranking_loss(scores, random_mask(3, 5)), (scores_BN,))


def test_rows_own_candidate_is_never_masked() -> None:
    scores_BN = draw(3, 5)
    everything = torch.ones(3, 5, dtype=torch.bool)

    assert ranking_loss(scores_BN, everything) == 0  # its own is the only candidate left
    only_others = everything.clone()
    only_others[torch.arange(3), torch.arange(3)] = False
    assert ranking_loss(scores_BN, only_others) == 0


def test_a_mask_takes_candidates_away_and_changes_nothing_given() -> None:
    scores_BN = draw(3, 5)
    before, mask_BN = scores_BN.clone(), torch.zeros(3, 5, dtype=torch.bool)
    assert ranking_loss(scores_BN, mask_BN) == ranking_loss(scores_BN)

    mask_BN[:, 4] = True
    assert ranking_loss(scores_BN, mask_BN) == ranking_loss(scores_BN[:, :4])
    assert torch.equal(scores_BN, before)


def test_equal_scores_cost_the_log_of_their_number() -> None:
    assert ranking_loss(torch.zeros(4, 7)).item() == pytest.approx(math.log(7))


def test_large_scores_do_not_overflow() -> None:
    scores_BN = torch.tensor([[1e4, -1e4], [1e4, -1e4]])

    assert ranking_loss(scores_BN).item() == pytest.approx(1e4)


def test_fewer_candidates_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="4 rows but only 3 candidates"):
        ranking_loss(draw(4, 3))


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("masked", [False, True])
def test_each_direction_asks_from_its_side(direction: Direction, masked: bool) -> None:
    """Columns are positives and then hard negatives, which only the anchors' side sees."""
    similarity_BN = draw(4, 9).requires_grad_()
    mask_BN = random_mask(4, 9) if masked else None
    forward = loss_by_loop(similarity_BN * 20, mask_BN)
    backward = loss_by_loop(similarity_BN[:, :4].T * 20, None if mask_BN is None else mask_BN[:, :4].T)
    expected = {
        "anchor_to_positive": forward,
        "positive_to_anchor": backward,
        "both": (forward + backward) / 2,
    }[direction]

    loss = RankingLoss(direction=direction)(similarity_BN, mask_BN)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(x, similarity_BN)[0] for x in (loss, expected)), rtol=0, atol=1e-12
    )


def test_scale_multiplies_the_similarities() -> None:
    similarity_BN = draw(4, 4)

    torch.testing.assert_close(RankingLoss(scale=7.5)(similarity_BN), ranking_loss(similarity_BN * 7.5))
    assert RankingLoss().scale == 20.0
    assert RankingLoss().direction == "anchor_to_positive"


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("masked", [False, True])
def test_hardness_adds_to_the_scores_of_a_rows_own_hard_negatives(direction: Direction, masked: bool) -> None:
    """Two columns of hard negatives: candidates 4 + i and 8 + i belong to row i. What is added has no gradient."""
    similarity_BN = draw(4, 12).requires_grad_()
    mask_BN = random_mask(4, 12) if masked else None
    added_BN = torch.zeros(4, 12, dtype=torch.float64)
    for i in range(4):
        for j in (4 + i, 8 + i):
            added_BN[i, j] = 5 * similarity_BN[i, j].detach()
    forward = loss_by_loop(similarity_BN * 20 + added_BN, mask_BN)
    backward = loss_by_loop(similarity_BN[:, :4].T * 20, None if mask_BN is None else mask_BN[:, :4].T)
    expected = {"anchor_to_positive": forward, "positive_to_anchor": backward, "both": (forward + backward) / 2}

    loss = RankingLoss(20.0, direction, hardness=5.0)(similarity_BN, mask_BN)
    torch.testing.assert_close(loss, expected[direction], rtol=0, atol=1e-12)
    gradients = (torch.autograd.grad(x, similarity_BN)[0] for x in (loss, expected[direction]))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    stacked = RankingLoss(20.0, direction, hardness=5.0)(torch.stack([similarity_BN, 2 * similarity_BN]), mask_BN)
    torch.testing.assert_close(stacked[0], loss, rtol=0, atol=1e-12)
