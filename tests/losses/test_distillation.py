"""Distillation against loops over rows and candidates: alone, one dim at a time, through an encoder in parts."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch, number_matrices
from matryoshka.losses import MatryoshkaLoss, NestedLoss, RankingLoss
from matryoshka.losses.distillation import DistilledLoss, divergence, known_divergence, margin_error
from matryoshka.losses.ranking import Direction
from matryoshka.training.accumulation import add_gradients
from tests.losses.test_matryoshka import cosine, draw
from tests.tiny import tiny_encoder

DIMS = {24: 1.0, 16: 0.5, 5: 2.0}
ROWS, CANDIDATES = 5, 10
CASES: dict[str, dict[str, Any]] = {
    "full width": {"full_width": 0.7, "scale": 7.0},
    "teacher": {"full_width": 0.0, "teacher": 0.5, "teacher_scale": 3.0},
    "margins": {"full_width": 0.0, "teacher": 2.0, "teacher_kind": "margin_mse", "teacher_scale": 0.3},
    "all": {"full_width": 0.7, "teacher": 0.5},
}


def some_mask() -> Tensor:
    """Two thirds of the entries left in, among those left out a row's own candidate, which counts nevertheless."""
    mask_BN = draw(ROWS, CANDIDATES, seed=2) > 0.4
    mask_BN[1, 1] = True
    return mask_BN


def some_scores() -> Tensor:
    """A row without any, one with a single one, one without that of its own candidate."""
    teacher_BN = draw(ROWS, CANDIDATES, seed=3).masked_fill(draw(ROWS, CANDIDATES, seed=4) > 0.3, torch.nan)
    for row in range(ROWS):
        teacher_BN[row, row], teacher_BN[row, ROWS + row] = 0.3 * row, -0.2 * row
    teacher_BN[0] = torch.nan
    teacher_BN[1, 2:], teacher_BN[1, 0] = torch.nan, torch.nan
    teacher_BN[2, 2] = torch.nan
    return teacher_BN


def left_in(mask_BN: Tensor | None, row: int, own: int, others: range) -> list[int]:
    return [j for j in others if j == own or mask_BN is None or not mask_BN[row, j]]


def kl_by_loop(scores: Tensor, target: Tensor) -> Tensor:
    shares, wanted = scores.exp() / scores.exp().sum(), target.exp() / target.exp().sum()
    return torch.stack([p * (p / q).log() for p, q in zip(wanted, shares, strict=True)]).sum()


def full_width_by_loop(similarity_BN: Tensor, full_BN: Tensor, mask_BN: Tensor | None, loss: DistilledLoss) -> Tensor:
    scale, direction, means = loss.ranking.scale, loss.ranking.direction, []
    if direction != "positive_to_anchor":
        own = [left_in(mask_BN, i, i, range(CANDIDATES)) for i in range(ROWS)]
        means.append([kl_by_loop(scale * similarity_BN[i, j], scale * full_BN[i, j]) for i, j in enumerate(own)])
    if direction != "anchor_to_positive":
        mask = None if mask_BN is None else mask_BN[:, :ROWS].T
        own = [left_in(mask, i, i, range(ROWS)) for i in range(ROWS)]
        means.append([kl_by_loop(scale * similarity_BN[j, i], scale * full_BN[j, i]) for i, j in enumerate(own)])
    return torch.stack([torch.stack(rows).mean() for rows in means]).mean()


def teacher_by_loop(similarity_BN: Tensor, teacher_BN: Tensor, mask_BN: Tensor | None, loss: DistilledLoss) -> Tensor:
    found = []
    for i in range(ROWS):
        known = [j for j in left_in(mask_BN, i, i, range(CANDIDATES)) if not teacher_BN[i, j].isnan()]
        wanted = loss.teacher_scale * teacher_BN[i]
        if loss.teacher_kind == "kl" and len(known) > 1:
            found.append(kl_by_loop(loss.ranking.scale * similarity_BN[i, known], wanted[known]))
        if loss.teacher_kind == "margin_mse" and i in known:
            margins = [(similarity_BN[i, i] - similarity_BN[i, j], wanted[i] - wanted[j]) for j in known if j != i]
            found += [(margin - wanted_margin) ** 2 for margin, wanted_margin in margins]
    return torch.stack(found).mean()


def by_loop(
    loss: DistilledLoss, inputs: tuple[Tensor, Tensor], mask_BN: Tensor | None, teacher_BN: Tensor, dims: list[int]
) -> Tensor:
    total = torch.zeros((), dtype=inputs[0].dtype)
    full_BN = cosine(*inputs, max(DIMS)).detach()
    for dim in dims:
        similarity_BN = cosine(*inputs, dim)
        own = loss.ranking(similarity_BN, mask_BN)
        own = own + loss.full_width * full_width_by_loop(similarity_BN, full_BN, mask_BN, loss)
        if loss.teacher:
            own = own + loss.teacher * teacher_by_loop(similarity_BN, teacher_BN, mask_BN, loss)
        total = total + DIMS[dim] * own
    return total


def embeddings() -> tuple[Tensor, Tensor]:
    return draw(ROWS, 24).requires_grad_(), draw(CANDIDATES, 24, seed=1).requires_grad_()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dims", [[24, 16, 5], [16, 5], [5]])
@pytest.mark.parametrize("one_dim_at_a_time", [False, True])
def test_equals_loops_over_rows_and_candidates(
    case: str, direction: Direction, masked: bool, dims: list[int], one_dim_at_a_time: bool
) -> None:
    """Values and gradients; of a micro-batch without the widest dim, too, whose similarities are the target still."""
    distilled, inputs = DistilledLoss(direction=direction, **CASES[case]), embeddings()
    mask_BN, teacher_BN = some_mask() if masked else None, some_scores()

    loss = MatryoshkaLoss(distilled, list(DIMS), list(DIMS.values()))
    nested = loss(
        *inputs,
        mask_BN,
        {"teacher_BN": teacher_BN},
        cuts={dim: dim for dim in dims},
        one_dim_at_a_time=one_dim_at_a_time,
    )
    expected = by_loop(distilled, inputs, mask_BN, teacher_BN, dims)
    torch.testing.assert_close(nested.total, expected, rtol=0, atol=1e-11)
    for found, wanted in zip(
        torch.autograd.grad(nested.total, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("one_dim_at_a_time", [False, True])
def test_at_the_widest_dim_the_full_width_adds_nothing(one_dim_at_a_time: bool) -> None:
    inputs = embeddings()
    plain, distilled = (
        MatryoshkaLoss(loss, [24])(*inputs, some_mask(), one_dim_at_a_time=one_dim_at_a_time).total
        for loss in (RankingLoss(direction="both"), DistilledLoss(direction="both", full_width=5.0))
    )
    torch.testing.assert_close(distilled, plain, rtol=0, atol=1e-12)
    for found, wanted in zip(torch.autograd.grad(distilled, inputs), torch.autograd.grad(plain, inputs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_without_weights_it_is_the_ranking_loss_to_the_bit() -> None:
    inputs = embeddings()
    plain, distilled = (
        MatryoshkaLoss(loss, list(DIMS))(*inputs, some_mask()).total
        for loss in (RankingLoss(7.0, "both"), DistilledLoss(7.0, "both", full_width=0.0))
    )
    assert torch.equal(distilled, plain)


def test_drawn_dims_learn_from_the_widest_of_all() -> None:
    loss = MatryoshkaLoss(DistilledLoss(), list(DIMS), list(DIMS.values()), dims_per_step=1)
    inputs, seen = embeddings(), set()
    for _ in range(9):
        nested = loss(*inputs)
        seen.update(nested.dims)
        expected = by_loop(DistilledLoss(), inputs, None, torch.empty(0), list(nested.dims))
        torch.testing.assert_close(nested.total, expected, rtol=0, atol=1e-11)
    assert seen == set(DIMS)


def test_gradcheck() -> None:
    scores_BN, target_BN = draw(3, 4).requires_grad_(), draw(3, 4, seed=1)
    out_BN = torch.zeros(3, 4, dtype=torch.bool)
    out_BN[0, 2], out_BN[1, 0] = True, True
    teacher_BN = target_BN.clone()
    teacher_BN[2, 1:], teacher_BN[0, 0] = torch.nan, torch.nan

    assert torch.autograd.gradcheck(lambda x: divergence(x, target_BN, out_BN), (scores_BN,))
    assert torch.autograd.gradcheck(lambda x: known_divergence(x, teacher_BN, out_BN), (scores_BN,))
    assert torch.autograd.gradcheck(lambda x: margin_error(x, teacher_BN, out_BN), (scores_BN,))


@pytest.mark.parametrize("of_teacher", [known_divergence, margin_error])
def test_a_teacher_that_knows_too_little_adds_nothing(of_teacher: Any) -> None:
    """No score at all; one a row, as of pairs without hard negatives: loss and gradient are 0, not NaN."""
    unknown_BN = torch.full((3, 4), torch.nan)
    one_BN = unknown_BN.clone()
    one_BN[torch.arange(3), torch.arange(3)] = 1.0
    for teacher_BN in (unknown_BN, one_BN):
        scores_BN = draw(3, 4).requires_grad_()
        loss = of_teacher(scores_BN, teacher_BN)
        assert loss == 0
        assert torch.equal(torch.autograd.grad(loss, scores_BN)[0], torch.zeros_like(scores_BN))


def test_a_teacher_is_needed_where_it_has_a_weight() -> None:
    with_teacher, without = (MatryoshkaLoss(DistilledLoss(teacher=weight), [24, 5]) for weight in (0.5, 0.0))

    assert (with_teacher.needs, without.needs) == ({"teacher_BN"}, set())
    assert without.takes == {"mask_BN", "teacher_BN"}
    with pytest.raises(ValueError, match=r"teacher=0.5 takes teacher_BN"):
        with_teacher(*embeddings())
    unread = {"teacher_BN": torch.full((ROWS, CANDIDATES), torch.nan)}
    assert torch.equal(without(*embeddings(), None, unread).total, without(*embeddings()).total)


TEXTS = [["der", "die das", "und der", "ein rad", "x"], ["das haus", "am see", "y", "der baum", "z"], list("abcde")]
TEACHER = {"positive_teacher": [1.0, 0.9, 0.8, 0.7, 0.6], "negative_1_teacher": [0.0, 0.1, 0.2, 0.3, 0.4]}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("at_once", [None, 1, 2])
def test_through_an_encoder_in_parts_it_is_one_backward_of_the_whole_batch(case: str, at_once: int | None) -> None:
    distilled, whole, parts = DistilledLoss(**CASES[case]), tiny_encoder().train(), tiny_encoder().train()
    columns = [whole.tokenize(texts) for texts in TEXTS]
    mask_BN = some_mask()
    batch = PackedBatch.from_ids(columns, mask_BN, range(5), number_matrices(TEACHER, ["positive", "negative_1"]))
    encoded = whole(batch).split([ROWS, CANDIDATES])
    expected = by_loop(distilled, encoded, mask_BN, batch.numbers["teacher_BN"], list(DIMS))
    expected.backward()

    def loss_of(_: int, embeddings_SD: Tensor) -> NestedLoss:
        both = embeddings_SD.tensor_split([ROWS])
        nested: NestedLoss = loss(*both, batch.mask_BN, batch.numbers, one_dim_at_a_time=at_once is not None)
        return nested

    loss = MatryoshkaLoss(distilled, list(DIMS), list(DIMS.values()))
    (nested,) = add_gradients(parts, [batch], loss_of, pairs_at_once=at_once)
    torch.testing.assert_close(nested.total, expected.detach(), rtol=1e-5, atol=1e-5)
    wanted = {name: p.grad for name, p in whole.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in parts.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
