"""Nested similarities against one product a dim; the total against a loop over the dims."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matryoshka.losses import MatryoshkaLoss, RankingLoss, nested_similarities
from matryoshka.losses.nested_loss import gradient_shares
from matryoshka.losses.ranking import Direction
from tests.calls import Calls

DIMS = [24, 16, 5, 1]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def cosine(rows_BD: Tensor, candidates_ND: Tensor, dim: int) -> Tensor:
    """The obvious way: cut, normalise, multiply."""
    return F.normalize(rows_BD[:, :dim], dim=1) @ F.normalize(candidates_ND[:, :dim], dim=1).T


def total_by_loop(
    anchors_BD: Tensor,
    candidates_ND: Tensor,
    loss: nn.Module,
    weights: dict[int, float],
    mask_BN: Tensor | None = None,
) -> Tensor:
    total = torch.zeros((), dtype=anchors_BD.dtype)
    for dim, weight in weights.items():
        total = total + weight * loss(cosine(anchors_BD, candidates_ND, dim), mask_BN)
    return total


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("dims", [DIMS, sorted(DIMS), [5, 24, 1, 16], [24], [5]])
def test_similarities_equal_one_product_a_dim(dtype: torch.dtype, atol: float, dims: list[int]) -> None:
    rows_BD, candidates_ND = draw(6, 24, dtype=dtype), draw(9, 24, seed=1, dtype=dtype)
    rows_BD[2] *= 1e3
    candidates_ND[3] *= 1e-3

    nested = dict(nested_similarities(rows_BD, candidates_ND, dims))
    assert list(nested) == sorted(dims)
    for dim, similarity_BN in nested.items():
        assert similarity_BN.dtype == dtype
        torch.testing.assert_close(similarity_BN, cosine(rows_BD, candidates_ND, dim), rtol=0, atol=atol)


def test_similarities_of_the_cards_dims_in_fp32() -> None:
    dims = [768, 512, 256, 128, 64]
    rows_BD, candidates_ND = draw(16, 768, dtype=torch.float32), draw(16, 768, seed=1, dtype=torch.float32)

    for dim, similarity_BN in nested_similarities(rows_BD, candidates_ND, dims):
        torch.testing.assert_close(similarity_BN, cosine(rows_BD, candidates_ND, dim), rtol=0, atol=1e-6)


def test_gradcheck_of_similarities() -> None:
    def similarities(rows_BD: Tensor, candidates_ND: Tensor) -> tuple[Tensor, ...]:
        return tuple(similarity for _, similarity in nested_similarities(rows_BD, candidates_ND, [1, 3, 4]))

    inputs = (draw(2, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(similarities, inputs)


def test_gradcheck_of_the_loss() -> None:
    loss = MatryoshkaLoss(RankingLoss(direction="both"), [4, 3, 1], [1.0, 0.5, 2.0])

    inputs = (draw(2, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda a, c: loss(a, c).total, inputs)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 0.25, 2.0]])
@pytest.mark.parametrize("masked", [False, True])
def test_total_is_the_weighted_sum_over_dims(
    dtype: torch.dtype, atol: float, weights: list[float] | None, masked: bool
) -> None:
    anchors_BD = draw(5, 24, dtype=dtype).requires_grad_()
    candidates_ND = draw(8, 24, seed=1, dtype=dtype).requires_grad_()
    mask_BN = draw(5, 8, seed=2) > 0.5 if masked else None
    of_dim = dict(zip(DIMS, weights or [1.0] * 4, strict=True))

    nested = MatryoshkaLoss(RankingLoss(), DIMS, weights)(anchors_BD, candidates_ND, mask_BN)
    expected = total_by_loop(anchors_BD, candidates_ND, RankingLoss(), of_dim, mask_BN)
    torch.testing.assert_close(nested.total, expected, rtol=0, atol=atol)
    inputs = (anchors_BD, candidates_ND)
    for gradient, other in zip(
        torch.autograd.grad(nested.total, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(gradient, other, rtol=0, atol=atol)


def test_weights_belong_to_the_dims_in_the_order_given() -> None:
    anchors_BD, candidates_ND = draw(4, 24), draw(4, 24, seed=1)

    one_way = MatryoshkaLoss(RankingLoss(), [16, 5], [3.0, 1.0])(anchors_BD, candidates_ND).total
    other_way = MatryoshkaLoss(RankingLoss(), [5, 16], [1.0, 3.0])(anchors_BD, candidates_ND).total
    assert one_way == other_way
    assert one_way != MatryoshkaLoss(RankingLoss(), [5, 16], [3.0, 1.0])(anchors_BD, candidates_ND).total


def test_each_dims_own_loss_comes_unweighted_and_detached() -> None:
    anchors_BD, candidates_ND = draw(4, 24).requires_grad_(), draw(4, 24, seed=1)

    nested = MatryoshkaLoss(RankingLoss(), DIMS, [1.0, 0.5, 0.25, 2.0])(anchors_BD, candidates_ND)
    assert set(nested.per_dim) == set(DIMS)
    for dim, loss in nested.per_dim.items():
        assert not loss.requires_grad
        expected = RankingLoss()(cosine(anchors_BD, candidates_ND, dim))
        torch.testing.assert_close(loss, expected.detach(), rtol=0, atol=1e-12)
    assert nested.total.requires_grad


def test_under_bf16_autocast_it_equals_fp32() -> None:
    """A batch so well separated that in bf16 its gradient would be 0."""
    anchors_BD = (torch.eye(8, 24) + 0.05 * draw(8, 24, dtype=torch.float32)).requires_grad_()
    candidates_ND = torch.eye(8, 24) + 0.05 * draw(8, 24, seed=1, dtype=torch.float32)
    loss = MatryoshkaLoss(RankingLoss(), [24, 16])

    plain = loss(anchors_BD, candidates_ND).total
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(anchors_BD, candidates_ND).total
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(cast, plain)
    (gradient_BD,), (expected_BD,) = (torch.autograd.grad(total, anchors_BD) for total in (cast, plain))
    assert torch.equal(gradient_BD, expected_BD)
    assert gradient_BD.abs().max() > 0


def test_similarities_alone_are_fp32_under_autocast_too() -> None:
    rows_BD, candidates_ND = draw(4, 24, dtype=torch.float32), draw(5, 24, seed=1, dtype=torch.float32)

    plain = dict(nested_similarities(rows_BD, candidates_ND, DIMS))
    with torch.autocast("cpu", torch.bfloat16):
        cast = dict(nested_similarities(rows_BD, candidates_ND, DIMS))
    assert all(torch.equal(cast[dim], plain[dim]) for dim in DIMS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_embeddings_are_compared_in_fp32(dtype: torch.dtype) -> None:
    rows_BD, candidates_ND = draw(4, 24, dtype=dtype), draw(5, 24, seed=1, dtype=dtype)

    for dim, similarity_BN in nested_similarities(rows_BD, candidates_ND, DIMS):
        assert similarity_BN.dtype == torch.float32
        expected_BN = cosine(rows_BD.float(), candidates_ND.float(), dim)
        torch.testing.assert_close(similarity_BN, expected_BN, rtol=0, atol=1e-6)


def test_a_zero_vector_gives_finite_values_and_gradients() -> None:
    anchors_BD, candidates_ND = draw(4, 24, dtype=torch.float32), draw(4, 24, seed=1, dtype=torch.float32)
    anchors_BD[1] = 0
    candidates_ND[2, :16] = 0  # zero at the narrow dims only
    anchors_BD.requires_grad_()
    candidates_ND.requires_grad_()

    nested = dict(nested_similarities(anchors_BD, candidates_ND, DIMS))
    for dim in DIMS:
        assert torch.equal(nested[dim][1], torch.zeros(4))
    total = MatryoshkaLoss(RankingLoss(), DIMS)(anchors_BD, candidates_ND).total
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, (anchors_BD, candidates_ND)))


@pytest.mark.parametrize("weights", [[], [1.0, 1.0, 1.0], [1.0] * 5])
def test_as_many_weights_as_dims_are_wanted(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=rf"{len(weights)} weights for 4 dims"):
        MatryoshkaLoss(RankingLoss(), DIMS, weights)


def test_the_inner_loss_sees_similarities_and_the_mask_only() -> None:
    seen: list[tuple[tuple[int, ...], Tensor | None]] = []

    class Watching(nn.Module):
        def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
            seen.append((tuple(similarity_BN.shape), mask_BN))
            return similarity_BN.sum()

    mask_BN = torch.zeros(4, 6, dtype=torch.bool)
    MatryoshkaLoss(Watching(), DIMS)(draw(4, 24), draw(6, 24), mask_BN)
    assert seen == [((4, 6), mask_BN)] * len(DIMS)


def test_some_dims_a_step_are_drawn_by_the_seed() -> None:
    anchors_BD, candidates_ND = draw(4, 24), draw(4, 24, seed=1)
    every = MatryoshkaLoss(RankingLoss(), DIMS, [1.0, 0.5, 0.25, 2.0])
    whole = every(anchors_BD, candidates_ND).per_dim

    def drawn(seed: int) -> list[list[int]]:
        loss = MatryoshkaLoss(RankingLoss(), DIMS, [1.0, 0.5, 0.25, 2.0], dims_per_step=2, seed=seed)
        steps = []
        for _ in range(12):
            nested = loss(anchors_BD, candidates_ND)
            expected = torch.stack([every.weights[dim] * whole[dim] for dim in nested.per_dim]).sum()
            torch.testing.assert_close(nested.total, expected, rtol=0, atol=1e-12)
            steps.append(list(nested.per_dim))
        return steps

    assert drawn(7) == drawn(7) != drawn(8)
    assert all(len(dims) == 2 for dims in drawn(7))
    assert {dim for dims in drawn(7) for dim in dims} == set(DIMS)


def test_in_evaluation_every_dim_counts_and_nothing_is_drawn() -> None:
    loss = MatryoshkaLoss(RankingLoss(), DIMS, dims_per_step=2).eval()
    before = loss.drawn_dims.random.getstate()

    assert set(loss(draw(4, 24), draw(4, 24, seed=1)).per_dim) == set(DIMS)
    assert loss.drawn_dims.random.getstate() == before


@pytest.mark.parametrize("dims_per_step", [4, 9])
def test_as_many_dims_a_step_as_there_are_is_all_of_them(dims_per_step: int) -> None:
    assert set(MatryoshkaLoss(RankingLoss(), DIMS, None, dims_per_step)(draw(4, 24), draw(4, 24)).per_dim) == set(DIMS)


def test_a_step_needs_a_dim() -> None:
    with pytest.raises(ValueError, match="dims_per_step=0: at least one dim"):
        MatryoshkaLoss(RankingLoss(), DIMS, None, 0)


class Hinge(nn.Module):
    """A loss that is no mean over rows."""

    def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        above_BN = (0.2 - similarity_BN.diagonal()[:, None] + similarity_BN).clamp_min(0).square()
        return (above_BN if mask_BN is None else above_BN.masked_fill(mask_BN, 0.0)).max(1).values.sum().sqrt()


DIRECTIONS: list[Direction] = ["anchor_to_positive", "positive_to_anchor", "both"]
LOSSES: list[Callable[[], nn.Module]] = [*(lambda d=d: RankingLoss(direction=d) for d in DIRECTIONS), Hinge]


@pytest.mark.parametrize("loss", LOSSES, ids=[*DIRECTIONS, "hinge"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dims_per_step", [None, 2])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_one_dim_at_a_time_is_the_same(
    loss: Callable[[], nn.Module], masked: bool, dims_per_step: int | None, dtype: torch.dtype, atol: float
) -> None:
    inputs = (draw(5, 24, dtype=dtype).requires_grad_(), draw(8, 24, seed=1, dtype=dtype).requires_grad_())
    with torch.no_grad():
        inputs[0][2] *= 1e3
    mask_BN = draw(5, 8, seed=2) > 0.5 if masked else None

    plain, recomputed = (
        MatryoshkaLoss(loss(), DIMS, [1.0, 0.5, 0.25, 2.0], dims_per_step)(*inputs, mask_BN, one_dim_at_a_time=way)
        for way in (False, True)
    )
    torch.testing.assert_close(recomputed.total, plain.total, rtol=0, atol=atol)
    assert list(recomputed.per_dim) == list(plain.per_dim)
    for dim, value in plain.per_dim.items():
        assert not recomputed.per_dim[dim].requires_grad
        torch.testing.assert_close(recomputed.per_dim[dim], value, rtol=0, atol=atol)
    for gradient, expected in zip(
        torch.autograd.grad(recomputed.total, inputs), torch.autograd.grad(plain.total, inputs), strict=True
    ):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradcheck_of_the_loss_one_dim_at_a_time(direction: Direction) -> None:
    loss = MatryoshkaLoss(RankingLoss(direction=direction), [4, 3, 1], [1.0, 0.5, 2.0])

    inputs = (draw(2, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda a, c: loss(a, c, one_dim_at_a_time=True).total, inputs)


def test_one_dim_at_a_time_keeps_no_matrix_for_the_gradient() -> None:
    inputs = (draw(64, 24).requires_grad_(), draw(80, 24, seed=1).requires_grad_())
    kept: dict[bool, list[int]] = {False: [], True: []}
    for way, sizes in kept.items():
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: (s.append(x.numel()), x)[1], lambda x: x)
        with hooks:
            MatryoshkaLoss(RankingLoss(), DIMS)(*inputs, one_dim_at_a_time=way)
    assert max(kept[False]) == len(DIMS) * 64 * 80  # all dims in one stack
    assert max(kept[True]) == 80 * 24


def test_one_dim_at_a_time_is_fp32_under_autocast_too() -> None:
    inputs = (draw(8, 24, dtype=torch.float32).requires_grad_(), draw(8, 24, seed=1, dtype=torch.float32))
    loss = MatryoshkaLoss(RankingLoss(), DIMS)

    plain = loss(*inputs, one_dim_at_a_time=True).total
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(*inputs, one_dim_at_a_time=True).total
    assert torch.equal(cast, plain)
    gradients = [torch.autograd.grad(total, inputs[0])[0] for total in (cast, plain)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("one_dim_at_a_time", [False, True])
def test_gradient_shares_are_those_of_each_dims_own_backward(one_dim_at_a_time: bool) -> None:
    """Against a backward of the loop above for one dim at a time; the graph is still whole afterwards."""
    embeddings_SD = draw(12, 24, dtype=torch.float32).requires_grad_()
    weights = {24: 1.0, 16: 0.5, 5: 3.0, 1: 0.0}
    loss = MatryoshkaLoss(RankingLoss(), DIMS, list(weights.values()))
    nested = loss(*embeddings_SD.tensor_split([6]), one_dim_at_a_time=one_dim_at_a_time)

    shares = gradient_shares(nested, embeddings_SD)
    norms = {}
    for dim, weight in weights.items():
        summand = total_by_loop(*embeddings_SD.tensor_split([6]), RankingLoss(), {dim: weight})
        norms[dim] = torch.autograd.grad(summand, embeddings_SD)[0].norm()
    assert shares.keys() == norms.keys()
    for dim, norm in norms.items():
        torch.testing.assert_close(shares[dim], norm / sum(norms.values()), rtol=1e-4, atol=1e-6)
    assert embeddings_SD.grad is None
    nested.total.backward()
    expected = torch.autograd.grad(
        total_by_loop(*embeddings_SD.tensor_split([6]), RankingLoss(), weights), embeddings_SD
    )
    torch.testing.assert_close(embeddings_SD.grad, expected[0], rtol=1e-4, atol=1e-6)


def test_gradient_shares_of_a_loss_without_gradient_are_zero() -> None:
    embeddings_SD = draw(2, 24, dtype=torch.float32).requires_grad_()
    nested = MatryoshkaLoss(RankingLoss(), [24, 5])(*embeddings_SD.tensor_split([1]))  # one candidate, no choice

    assert [float(share) for share in gradient_shares(nested, embeddings_SD).values()] == [0.0, 0.0]


def test_five_dims_are_a_few_calls_forward_and_backward() -> None:
    """What a GPU is launched for: hardly more calls for five dims than for one, where each took 60 and more."""
    counts = {}
    for dims in ([24], [24, 16, 8, 4, 2]):
        anchors_BD, candidates_ND = draw(8, 24).requires_grad_(), draw(8, 24, seed=1).requires_grad_()
        loss = MatryoshkaLoss(RankingLoss(direction="both"), dims)
        loss(anchors_BD, candidates_ND)  # what is kept from then on
        with Calls() as calls:
            torch.autograd.grad(loss(anchors_BD, candidates_ND).total, (anchors_BD, candidates_ND))
        counts[len(dims)] = sum(calls.count.values())
    assert counts[5] <= counts[1] + 10 <= 90


def test_a_loss_of_single_matrices_gets_one_dim_after_another() -> None:
    class Single(nn.Module):
        def forward(self, similarity_BN: Tensor) -> Tensor:
            assert similarity_BN.dim() == 2
            return RankingLoss()(similarity_BN)  # type: ignore[no-any-return]

    both = draw(6, 24), draw(6, 24, seed=1)
    found, expected = MatryoshkaLoss(Single(), DIMS)(*both), MatryoshkaLoss(RankingLoss(), DIMS)(*both)
    torch.testing.assert_close(found.losses_K, expected.losses_K, rtol=0, atol=1e-12)
