"""Codes in numpy are those of torch, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matryoshka.evaluation.deployment.quantisation import encoded, int8_ranges
from matryoshka.projection.codes import NUMPY, Encoding, lengths, unit
from tests.projection.small import saved, vectors


@pytest.mark.parametrize("dim", [1, 7, 8, 12])
@pytest.mark.parametrize("code", NUMPY)
def test_codes_are_those_of_the_deployment(code: str, dim: int) -> None:
    calibration_Md = unit(saved().calibration_ME[:, :dim].copy())
    x_Nd = unit(vectors(5000, dim))
    x_Nd[0], x_Nd[1] = 0, calibration_Md.min(0)
    x_Nd[2], x_Nd[3] = calibration_Md.max(0), -0.0
    encoding = saved().encoding(code, dim)  # type: ignore[arg-type]

    codes_NC = encoding(x_Nd.copy())

    ranges_ED = int8_ranges(torch.from_numpy(calibration_Md))
    expected_NC = encoded(torch.from_numpy(x_Nd), code, ranges_ED).numpy()  # type: ignore[arg-type]
    assert codes_NC.dtype == expected_NC.dtype == encoding.dtype
    assert codes_NC.tobytes() == expected_NC.tobytes()
    assert codes_NC.shape == (5000, encoding.width) and codes_NC[0].nbytes == encoding.row_bytes


def test_random_ranges_and_values_beyond_them_give_the_same_int8() -> None:
    generator = np.random.default_rng(3)
    ranges_ED = np.sort(generator.normal(0, 0.05, (2, 64)).astype(np.float32), axis=0)
    ranges_ED[:, 5] = 0.01  # a dimension without a range
    x_ND = generator.normal(0, 0.2, (20_000, 64)).astype(np.float32)

    codes_ND = Encoding("int8", 64, ranges_ED)(x_ND)

    expected_ND = encoded(torch.from_numpy(x_ND), "int8", torch.from_numpy(ranges_ED)).numpy()
    assert (codes_ND == expected_ND).all() and {-128, 127} <= set(codes_ND.flat)


def test_int8_needs_ranges() -> None:
    with pytest.raises(ValueError, match="ranges"):
        Encoding("int8", 3)(vectors(2, 3))


def test_rows_get_length_one_and_lengths_tell_what_is_not_finite() -> None:
    x_ND = vectors(100)
    np.testing.assert_allclose(lengths(x_ND), np.linalg.norm(x_ND, axis=1), rtol=1e-6)
    np.testing.assert_allclose(lengths(unit(x_ND)), 1, rtol=1e-6)
    assert not np.isfinite(lengths(np.array([[1, np.nan], [np.inf, 1], [3e38, 3e38]], np.float32))).any()
