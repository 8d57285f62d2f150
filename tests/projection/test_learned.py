from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from matryoshka.losses import MatryoshkaLoss, RankingLoss, nested_similarities
from matryoshka.projection.closed_form import rotation
from matryoshka.projection.learned import EPSILON, Learned, Orthogonal, cayley
from matryoshka.projection.pair_vectors import PairVectors

from .pairs import planted

DIMS = [16, 8, 4]
LOSS = MatryoshkaLoss(RankingLoss(20.0, "both"), DIMS)


def loss_of(pairs: PairVectors, matrix_DD: torch.Tensor, documents: bool = True) -> float:
    x_ND, y_ND, mask_NN = pairs.batch(torch.arange(len(pairs)))
    return float(LOSS(x_ND @ matrix_DD, y_ND @ matrix_DD if documents else y_ND, mask_NN).total)


def slow_learned(pairs: PairVectors, kind: Learned, seed: int) -> torch.Tensor:
    """Adam and its falling rate written out; a loss for each dim of its own; an inverse for the rotation."""
    start, identity = rotation(pairs), torch.eye(pairs.width)
    parts = [torch.zeros_like(identity), identity]
    moments = [(torch.zeros_like(identity), torch.zeros_like(identity)) for _ in parts]
    generator, order, place = torch.Generator().manual_seed(seed), torch.zeros(0, dtype=torch.int64), 0
    for step in range(kind.steps):
        if place + kind.pairs_per_step > len(order):
            order, place = torch.randperm(len(pairs), generator=generator), 0
        rows = order[place : place + kind.pairs_per_step]
        place += kind.pairs_per_step
        turn, free = (part.detach().requires_grad_() for part in parts)
        matrix = start @ slow_cayley(turn) @ free
        x, y = (F.normalize(side[rows], dim=1) @ matrix for side in (pairs.anchors_AD, pairs.positives_PD))
        total = kind.strength * (free - identity).square().sum()
        for dim in DIMS:
            scores = 20 * F.normalize(x[:, :dim], dim=1) @ F.normalize(y[:, :dim], dim=1).T
            own = torch.arange(len(rows))
            total = total + (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        gradients = torch.autograd.grad(total, (turn, free))
        rate = kind.fit_lr * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / kind.steps)))
        for i, (part, gradient) in enumerate(zip((turn, free), gradients, strict=True)):
            first = 0.9 * moments[i][0] + 0.1 * gradient
            second = 0.999 * moments[i][1] + 0.001 * gradient**2
            moments[i] = first, second
            unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            parts[i] = part.detach() - rate * unbiased[0] / (unbiased[1].sqrt() + EPSILON)
    return start @ slow_cayley(parts[0]) @ parts[1]


def slow_cayley(free: torch.Tensor) -> torch.Tensor:
    half, identity = (free - free.T) / 2, torch.eye(len(free))
    return torch.linalg.inv(identity + half) @ (identity - half)


def test_the_fit_is_that_of_a_loop_that_is_written_out() -> None:
    """At every dim: turning within the numbers between two dims is free, so the matrices themselves may differ."""
    pairs, kind = planted(), Learned(strength=0.1, steps=4, pairs_per_step=64, fit_lr=5e-3)
    x_ND, y_ND, _ = pairs.batch(torch.arange(len(pairs)))
    found, expected = (
        dict(nested_similarities(x_ND @ matrix_DD, y_ND @ matrix_DD, DIMS))
        for matrix_DD in (kind.fit(pairs, LOSS, 3), slow_learned(pairs, kind, 3))
    )
    for dim in DIMS:
        torch.testing.assert_close(found[dim], expected[dim], atol=5e-3, rtol=0)
    start = dict(nested_similarities(x_ND @ rotation(pairs), y_ND @ rotation(pairs), DIMS))
    assert float((found[4] - start[4]).abs().max()) > 0.02  # far from where it began


def test_it_lowers_the_loss_and_gives_the_same_bits_again() -> None:
    pairs, kind = planted(), Learned(steps=60, pairs_per_step=64, fit_lr=1e-2)
    found = kind.fit(pairs, LOSS, 3)
    assert loss_of(pairs, found) < loss_of(pairs, rotation(pairs)) < loss_of(pairs, torch.eye(16))
    assert torch.equal(kind.fit(pairs, LOSS, 3), found)
    assert not torch.equal(kind.fit(pairs, LOSS, 4), found)


def test_strength_holds_it_to_a_rotation() -> None:
    pairs = planted()
    found = (Learned(strength, 40, 64, 1e-2).fit(pairs, LOSS, 0) for strength in (0, 1, 100))
    distances = [float((matrix_DD.T @ matrix_DD - torch.eye(16)).norm()) for matrix_DD in found]
    assert distances[0] > distances[1] > distances[2]


def test_a_matrix_for_queries_leaves_documents_and_starts_at_the_identity() -> None:
    pairs = planted()
    found = Learned(steps=60, pairs_per_step=64, fit_lr=1e-2, side="query").fit(pairs, LOSS, 0)
    assert loss_of(pairs, found, documents=False) < loss_of(pairs, torch.eye(16))
    held = Learned(strength=1e6, steps=5, pairs_per_step=64, fit_lr=1e-6, side="query").fit(pairs, LOSS, 0)
    torch.testing.assert_close(held, torch.eye(16), atol=1e-4, rtol=0)


@pytest.mark.parametrize("count", [5, 200])
def test_a_learned_rotation_is_a_rotation(count: int) -> None:
    pairs, kind = planted(count), Orthogonal(steps=60, pairs_per_step=64, fit_lr=1e-2)
    found = kind.fit(pairs, LOSS, 3)
    torch.testing.assert_close(found.T @ found, torch.eye(16), atol=1e-6, rtol=0)
    assert loss_of(pairs, found) < loss_of(pairs, rotation(pairs))
    x_ND, y_ND = pairs.anchors_AD, pairs.positives_PD
    before, after = F.cosine_similarity(x_ND, y_ND), F.cosine_similarity(x_ND @ found, y_ND @ found)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    assert torch.equal(kind.fit(pairs, LOSS, 3), found)


def test_cayley_is_the_formula() -> None:
    free = torch.randn(5, 5, dtype=torch.float64)
    skew = free - free.T
    expected = torch.linalg.inv(torch.eye(5) + skew / 2) @ (torch.eye(5) - skew / 2)
    torch.testing.assert_close(cayley(free), expected)


def test_the_log_gets_every_step() -> None:
    steps: list[int] = []
    Learned(steps=7, pairs_per_step=64).fit(planted(), LOSS, 0, lambda step, loss: steps.append(step))
    assert steps == list(range(1, 8))
