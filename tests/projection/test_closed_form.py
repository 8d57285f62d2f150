from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.projection import pair_vectors
from matryoshka.projection.closed_form import PCA, Rotation, principal_axes, rotation
from matryoshka.projection.pair_vectors import PairVectors

from .pairs import planted

LOSS = MatryoshkaLoss(RankingLoss(), [16, 8, 4])


def slow_cross_covariance(x: list[list[float]], y: list[list[float]]) -> np.ndarray:
    """One pair after another, one number after another."""
    rows, width = len(x), len(x[0])
    mean_x, mean_y = ([sum(row[i] for row in side) / rows for i in range(width)] for side in (x, y))
    return np.array(
        [
            [sum((x[n][i] - mean_x[i]) * (y[n][j] - mean_y[j]) for n in range(rows)) / rows for j in range(width)]
            for i in range(width)
        ]
    )


def units(pairs: PairVectors) -> tuple[list[list[float]], list[list[float]]]:
    sides = pairs.anchors_AD[pairs.anchor_N], pairs.positives_PD[pairs.positive_N]
    x, y = (F.normalize(side.double(), dim=1).tolist() for side in sides)
    return x, y


def slow_eigenvectors(symmetric: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(symmetric)
    columns = []
    for i in np.argsort(-values):
        column = vectors[:, i]
        columns.append(column * np.sign(column[np.argmax(np.abs(column))]))
    return np.stack(columns, axis=1)


def test_the_rotation_is_that_of_the_formula_pair_by_pair() -> None:
    pairs = planted(60, 8)
    cross = slow_cross_covariance(*units(pairs))
    np.testing.assert_allclose(rotation(pairs).numpy(), slow_eigenvectors((cross + cross.T) / 2), atol=1e-5)


def test_principal_axes_are_those_of_the_distinct_passages() -> None:
    some = planted(60, 8)
    twice = PairVectors(some.anchors_AD, some.positives_PD, torch.arange(60), torch.arange(60) // 2)
    distinct = F.normalize(some.positives_PD[:30].double(), dim=1).tolist()
    expected = slow_eigenvectors(slow_cross_covariance(distinct, distinct))
    np.testing.assert_allclose(principal_axes(twice).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [PCA(), Rotation()])
@pytest.mark.parametrize("count", [3, 200])  # fewer pairs than numbers, too
def test_cosines_at_full_width_stay_as_they_are(kind: PCA | Rotation, count: int) -> None:
    pairs = planted(count)
    matrix_DD = kind.fit(pairs, LOSS, 0)
    x_ND, y_ND = pairs.anchors_AD, pairs.positives_PD
    torch.testing.assert_close(matrix_DD.T @ matrix_DD, torch.eye(16), atol=1e-6, rtol=0)
    before, after = F.cosine_similarity(x_ND, y_ND), F.cosine_similarity(x_ND @ matrix_DD, y_ND @ matrix_DD)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_the_shared_directions_come_first() -> None:
    pairs = planted()
    matrix_DD = rotation(pairs)

    def found(matrix_Dd: torch.Tensor) -> float:
        x_ND, y_ND = (F.normalize(side @ matrix_Dd, dim=1) for side in (pairs.anchors_AD, pairs.positives_PD))
        return float(((x_ND @ y_ND.T).argmax(1) == torch.arange(len(pairs))).float().mean())

    assert found(matrix_DD[:, :4]) > 2 * found(torch.eye(16)[:, :4])


def test_a_pass_in_pieces_is_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = planted()
    whole = rotation(pairs)
    monkeypatch.setattr(pair_vectors, "CHUNK", 7)
    torch.testing.assert_close(rotation(planted()), whole, atol=1e-5, rtol=0)
    assert torch.equal(rotation(planted()), rotation(planted()))  # the same bits every time


def test_constant_and_repeated_directions_come_out_finite_and_orthogonal() -> None:
    some = planted(40, 8)
    constant_AD = some.anchors_AD.clone()
    constant_AD[:, 3] = 1.0
    for pairs in (
        PairVectors(constant_AD, constant_AD, some.anchor_N, some.positive_N),
        PairVectors(some.anchors_AD, some.positives_PD, torch.zeros(40, dtype=torch.int64), some.positive_N),
        PairVectors(torch.ones(40, 8), torch.ones(40, 8), some.anchor_N, some.positive_N),
    ):
        for matrix_DD in (rotation(pairs), principal_axes(pairs)):
            torch.testing.assert_close(matrix_DD.T @ matrix_DD, torch.eye(8), atol=1e-6, rtol=0)
