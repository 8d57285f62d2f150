"""Codes of vectors against sentence-transformers' quantize_embeddings, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sentence_transformers.util.quantization import _dequantize_embeddings, quantize_embeddings
from torch import Tensor

from matryoshka.evaluation.deployment.quantisation import decoded, int8_ranges, to_binary, to_int8
from tests.parity.conftest import Parity, release
from tests.parity.german_texts import texts_of
from tests.parity.two_encoders import embedded_encoder

AREA = "Embeddings"
THEIRS = release("sentence-transformers")
DIMS = (768, 256, 100, 64, 8, 1)
BEYOND = "values beyond the ranges"


def compare(parity: Parity, kind: str, x_ND: Tensor, calibration_MD: Tensor) -> None:
    """All codes of all precisions, with a calibration and with its ranges."""
    ranges_ED, x, calibration = int8_ranges(calibration_MD), x_ND.numpy(), calibration_MD.numpy()
    ours = to_int8(x_ND, ranges_ED).flatten().tolist()
    for how in ({"calibration_embeddings": calibration}, {"ranges": ranges_ED.numpy()}):
        theirs = np.asarray(quantize_embeddings(x, "int8", **how)).flatten().tolist()
        parity.equal(f"int8 codes, {next(iter(how)).partition('_')[0]} given: {kind}", THEIRS, ours, theirs)
    bits_NC = to_binary(x_ND)
    for precision, codes_NC in (("ubinary", bits_NC), ("binary", (bits_NC.short() - 128).to(torch.int8))):
        theirs = np.asarray(quantize_embeddings(x, precision)).flatten().tolist()  # type: ignore[arg-type]
        parity.equal(f"{precision} codes: {kind}", THEIRS, codes_NC.flatten().tolist(), theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("dim", DIMS)
def test_random_numbers(parity: Parity, dim: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(dim)
    x_ND = torch.randn(300, dim, generator=generator).to(dtype)
    calibration_MD = torch.cat([x_ND, 1.5 * x_ND[:100]])
    calibration_MD[:, 0] = x_ND[:, 0] = 0.5  # a dimension without a range
    x_ND[:9] = torch.tensor([0.0, -0.0, 0.5]).repeat(3)[:, None]

    compare(parity, f"random numbers, {str(dtype).rpartition('.')[2]}", x_ND, calibration_MD)


@pytest.mark.parametrize("dim", DIMS)
def test_values_beyond_the_ranges(parity: Parity, dim: int) -> None:
    """Theirs, too, gives the first or the last code."""
    generator = torch.Generator().manual_seed(dim)
    calibration_MD = torch.randn(100, dim, generator=generator)
    low_D, high_D = int8_ranges(calibration_MD)
    x_ND = torch.stack([low_D, high_D, low_D - 1e-3, high_D + 1e-3, low_D - 9, high_D + 9, 1e6 * high_D])

    assert to_int8(x_ND[2:], torch.stack([low_D, high_D])).flatten().unique().tolist() == [-128, 127]
    compare(parity, BEYOND, x_ND, calibration_MD)


@pytest.mark.parametrize("dim", DIMS)
def test_decoded_bytes(parity: Parity, dim: int) -> None:
    """Ours are half a step more, in the middle of what has the code."""
    x_ND = torch.randn(300, dim, generator=torch.Generator().manual_seed(dim))
    ranges_ED = int8_ranges(x_ND)
    codes_ND = to_int8(x_ND, ranges_ED)

    theirs = _dequantize_embeddings(codes_ND.numpy(), "int8", ranges_ED.numpy())
    half_step_D = ((ranges_ED[1] - ranges_ED[0]) / 255 / 2).numpy()
    ours = decoded(codes_ND, "int8", dim, ranges_ED).numpy()
    parity.within("decoded int8, less half a step: random numbers", THEIRS, ours - half_step_D, theirs, 1e-5)


@pytest.mark.slow
def test_german_texts(parity: Parity) -> None:
    encoder = embedded_encoder()
    x_ND = encoder.encode(texts_of("evaluation", "positive", 60), prompt="document", as_tensor=True)
    calibration_MD = encoder.encode(texts_of("train", "positive", 60), prompt="document", as_tensor=True)
    for dim in (x_ND.shape[1], 256, 64):
        cut_Nd, cut_Md = F.normalize(x_ND[:, :dim]), F.normalize(calibration_MD[:, :dim])
        low_d, high_d = int8_ranges(cut_Md)
        assert bool(((cut_Nd < low_d) | (cut_Nd > high_d)).any())
        compare(parity, "German texts, some values beyond the ranges", cut_Nd, cut_Md)
