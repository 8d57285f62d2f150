"""Codes by hand, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from matryoshka.evaluation.deployment.quantisation import (
    PRECISIONS,
    VectorPrecision,
    bytes_per_vector,
    decoded,
    encoded,
    int8_ranges,
    to_binary,
    to_int8,
)
from tests.evaluation.all_pairs import draw


def code(value: float, low: float, high: float) -> int:
    """In which of 255 steps a value lies, from -128."""
    step = (high - low) / 255 or 1.0
    return max(0, min(255, math.floor((value - low) / step))) - 128


def bytes_of(row_D: Tensor) -> list[int]:
    """A bit a value, eight to a byte, zeros at the end."""
    bits = "".join("1" if value > 0 else "0" for value in row_D.tolist())
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@pytest.mark.parametrize("dim", [1, 7, 8, 12, 64])
def test_bits_are_packed_as_written(dim: int) -> None:
    x_ND = draw(20, dim)
    x_ND[0], x_ND[1, 0] = 0.0, -0.0

    codes_NC = to_binary(x_ND)
    assert codes_NC.dtype == torch.uint8
    assert codes_NC.tolist() == [bytes_of(row_D) for row_D in x_ND]
    assert torch.equal(decoded(codes_NC, "binary", dim), torch.where(x_ND > 0, 1.0, -1.0))


def test_bytes_are_the_steps_of_the_calibration() -> None:
    calibration_MD = draw(50, 5, seed=1).double()
    calibration_MD[:, 4] = 0.25  # no range
    x_ND = 2 * draw(40, 5).double()  # many are beyond the ranges
    ranges_ED = int8_ranges(calibration_MD)

    codes_ND = to_int8(x_ND, ranges_ED)
    assert codes_ND.dtype == torch.int8 and codes_ND.min() == -128 and codes_ND.max() == 127
    for row, codes in zip(x_ND.tolist(), codes_ND.tolist(), strict=True):
        for value, got, (low, high) in zip(row, codes, ranges_ED.T.tolist(), strict=True):
            assert got == code(value, low, high)


def test_a_decoded_byte_is_at_most_half_a_step_off() -> None:
    x_ND = draw(100, 16)
    ranges_ED = int8_ranges(x_ND)

    off_ND = decoded(to_int8(x_ND, ranges_ED), "int8", 16, ranges_ED) - x_ND
    assert bool((off_ND.abs() <= (ranges_ED[1] - ranges_ED[0]) / 255 / 2 + 1e-6).all())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dim", [64, 12])
def test_stored_bytes_are_counted(precision: VectorPrecision, dim: int) -> None:
    x_ND = draw(3, dim)
    assert encoded(x_ND, precision, int8_ranges(x_ND)).nbytes == 3 * bytes_per_vector(dim, precision)


def test_halves_are_halves_and_float32_is_untouched() -> None:
    x_ND = draw(10, 8)
    assert torch.equal(decoded(encoded(x_ND, "float32"), "float32", 8), x_ND)
    assert torch.equal(decoded(encoded(x_ND, "float16"), "float16", 8), x_ND.half().float())


def test_int8_needs_ranges() -> None:
    with pytest.raises(ValueError, match="ranges"):
        encoded(draw(2, 4), "int8")
    with pytest.raises(ValueError, match="no embeddings"):
        int8_ranges(draw(0, 4))
