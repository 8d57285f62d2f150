"""cuts=nested: where a dim is cut in a micro-batch, and that nothing else is changed by it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from matryoshka.losses import DistilledLoss, MatryoshkaLoss, RankingDirectionsLoss, RankingLoss
from matryoshka.losses.drawn_dims import DrawnDims
from matryoshka.losses.nested_loss import gradient_shares
from matryoshka.losses.similarities import _within
from tests.losses.test_matryoshka import draw

DIMS = [5, 24, 16, 1]
BELOW = {24: 16, 16: 5, 5: 1, 1: 0}


def test_each_cut_is_uniform_between_its_dim_and_the_next_narrower_one() -> None:
    drawn, count = DrawnDims(DIMS, cuts="nested"), 4000
    draws = [drawn() for _ in range(count)]

    assert all(list(cuts) == [24, 16, 5, 1] for cuts in draws)
    for dim, below in BELOW.items():
        found = Counter(cuts[dim] for cuts in draws)
        share = count / (dim - below)
        assert sorted(found) == list(range(below + 1, dim + 1))
        assert all(abs(times - share) < 5 * share**0.5 for times in found.values())


@pytest.mark.parametrize(("narrowest", "lowest"), [(64, 33), (7, 4), (2, 2), (1, 1)])
def test_the_narrowest_dim_is_cut_above_its_half(narrowest: int, lowest: int) -> None:
    drawn = DrawnDims([128, narrowest], cuts="nested")
    assert {drawn()[narrowest] for _ in range(1000)} == set(range(lowest, narrowest + 1))


def test_with_dims_per_step_a_gap_is_that_of_all_dims() -> None:
    drawn = DrawnDims(DIMS, 2, cuts="nested")
    draws = [drawn() for _ in range(400)]

    assert all(len(cuts) == 2 for cuts in draws)
    assert {dim for cuts in draws for dim in cuts} == set(DIMS)
    assert all(BELOW[dim] < cut <= dim for cuts in draws for dim, cut in cuts.items())
    assert {cut for cuts in draws for cut in cuts.values()} == set(range(1, 25))


def test_which_dims_count_is_drawn_first() -> None:
    """So that a first micro-batch has the dims that it has without cuts."""
    assert list(DrawnDims(DIMS, 2, 7, "nested")()) == list(DrawnDims(DIMS, 2, 7)())


def test_in_evaluation_each_dim_is_cut_at_itself_and_nothing_is_drawn() -> None:
    drawn = DrawnDims(DIMS, 2, cuts="nested").eval()
    before = drawn.random.getstate()

    assert drawn() == {24: 24, 16: 16, 5: 5, 1: 1}
    assert drawn.random.getstate() == before


def test_a_saved_state_goes_on_to_the_bit() -> None:
    first, second = (MatryoshkaLoss(RankingLoss(), DIMS, None, 3, seed, "nested") for seed in (1, 2))
    for _ in range(5):
        first.drawn_dims()
    second.load_state_dict(first.state_dict())

    assert [first.drawn_dims() for _ in range(9)] == [second.drawn_dims() for _ in range(9)]


@pytest.mark.parametrize("inner", [RankingLoss(), RankingDirectionsLoss(["anchor_to_positive", "anchor_to_anchor"])])
@pytest.mark.parametrize("one_dim_at_a_time", [False, True])
def test_values_are_those_of_a_loss_with_these_dims(inner: nn.Module, one_dim_at_a_time: bool) -> None:
    """Weights, shares of the gradient and what is logged go by the dims nevertheless."""
    weights = {24: 1.0, 16: 0.5, 5: 2.0, 1: 0.25}
    loss = MatryoshkaLoss(inner, list(weights), list(weights.values()), cuts="nested")
    embeddings_SD = draw(12, 24, dtype=torch.float32).requires_grad_()
    both = embeddings_SD.tensor_split([6])
    for _ in range(4):
        cuts = loss.drawn_dims()
        nested = loss(*both, cuts=cuts, one_dim_at_a_time=one_dim_at_a_time)
        plain = MatryoshkaLoss(inner, list(cuts.values()), [weights[dim] for dim in cuts])
        expected = plain(*both)
        assert list(nested.dims) == list(nested.per_dim) == sorted(weights)
        torch.testing.assert_close(nested.total, expected.total, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(nested.losses_K, expected.losses_K, rtol=1e-5, atol=1e-5)
        shares, wanted = gradient_shares(nested, embeddings_SD), gradient_shares(expected, embeddings_SD)
        assert {cuts[dim]: float(share) for dim, share in shares.items()} == pytest.approx(
            {cut: float(share) for cut, share in wanted.items()}, abs=1e-4
        )


def test_cuts_learn_from_the_full_width_of_the_dims() -> None:
    both = draw(6, 24), draw(6, 24, seed=1)
    cuts = {24: 20, 5: 3}
    nested = MatryoshkaLoss(DistilledLoss(), [24, 5], cuts="nested")(*both, cuts=cuts)
    whole = MatryoshkaLoss(DistilledLoss(), [24, 20, 3])(*both, cuts={20: 20, 3: 3})
    torch.testing.assert_close(nested.total, whole.total, rtol=0, atol=1e-12)


def test_forward_draws_where_no_cuts_are_given() -> None:
    both = draw(6, 24), draw(6, 24, seed=1)
    losses = [MatryoshkaLoss(RankingLoss(), DIMS, cuts="nested") for _ in range(2)]
    found, expected = losses[0](*both), losses[1](*both, cuts=losses[1].drawn_dims())
    assert torch.equal(found.total, expected.total)
    assert losses[0](*both).total != found.total  # drawn anew


def test_drawn_cuts_are_not_kept_without_bound() -> None:
    loss = MatryoshkaLoss(RankingLoss(), [24, 12], cuts="nested")
    for _ in range(200):
        loss(draw(2, 24), draw(2, 24, seed=1))
    assert _within.cache_info().currsize <= 64
