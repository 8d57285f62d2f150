from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from matryoshka.errors import DataError
from matryoshka.projection.closed_form import rotation
from matryoshka.projection.pair_vectors import PairVectors

from .pairs import planted

ROWS = torch.arange(3)


def test_right_answers_are_no_negatives() -> None:
    vectors = torch.randn(4, 5)
    pairs = PairVectors(vectors, vectors, torch.tensor([0, 1, 1, 2]), torch.tensor([3, 0, 2, 3]))
    x_BD, y_BD, mask_BB = pairs.batch(torch.arange(4))
    assert mask_BB.int().tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]
    torch.testing.assert_close(x_BD.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(y_BD[0], vectors[3] / vectors[3].norm())


def test_fewer_than_two_pairs_and_two_widths_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 pairs, and there is 1"):
        PairVectors(torch.ones(3, 4), torch.ones(3, 4), ROWS[:1], ROWS[:1])
    with pytest.raises(DataError, match="queries have 4 numbers and documents 5"):
        PairVectors(torch.ones(3, 4), torch.ones(3, 5), ROWS, ROWS)


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "is not finite"), (0.0, "is zero, which has no direction")])
def test_a_vector_that_has_no_direction_is_named(value: float, said: str) -> None:
    wrong_ND = torch.ones(3, 4)
    wrong_ND[2] = value
    with pytest.raises(DataError, match=f"documents: the vector of row 2 {said}"):
        PairVectors(torch.ones(3, 4), wrong_ND, ROWS, ROWS).require_usable()
    PairVectors(torch.ones(3, 4), wrong_ND, ROWS[:2], ROWS[:2]).require_usable()  # which no pair names


def test_mapped_float16_vectors_give_the_matrix_of_the_same_ones_in_memory(tmp_path: Path) -> None:
    pairs = planted()
    np.save(tmp_path / "x.npy", pairs.anchors_AD.half().numpy())
    mapped_ND = torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="c"))
    mapped = PairVectors(mapped_ND, pairs.positives_PD, pairs.anchor_N, pairs.positive_N)
    memory = PairVectors(pairs.anchors_AD.half().float(), pairs.positives_PD, pairs.anchor_N, pairs.positive_N)
    assert torch.equal(rotation(mapped), rotation(memory))
