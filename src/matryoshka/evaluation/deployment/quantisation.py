"""Embeddings in fewer bytes: float16, a byte a number, a bit a number. The codes of sentence-transformers, bit for bit.

Source: sentence-transformers 6.2, `quantize_embeddings` with the precisions int8 and ubinary.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

VectorPrecision = Literal["float32", "float16", "int8", "binary"]
PRECISIONS: tuple[VectorPrecision, ...] = ("float32", "float16", "int8", "binary")
BITS: dict[VectorPrecision, int] = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}
STEPS = 255  # between the lowest and the highest of the 256 codes of a byte


def bytes_per_vector(dim: int, precision: VectorPrecision) -> int:
    """What a vector of `dim` numbers takes; bits are filled up to whole bytes."""
    return -(-dim * BITS[precision] // 8)


def int8_ranges(calibration_ND: Tensor) -> Tensor:
    """The least and the largest value of each dimension, (E = 2, D), fp32. Raises ValueError if there are no rows."""
    if not len(calibration_ND):
        raise ValueError("ranges of no embeddings")
    return torch.stack(calibration_ND.aminmax(dim=0)).float()


def to_int8(x_ND: Tensor, ranges_ED: Tensor) -> Tensor:
    """The number of the step, of 255 from the range's start to its end, that each value falls in, less 128: int8.

    Values beyond the ranges get the first or the last code, as in sentence-transformers 6.2; in 3.0.1 they wrap around
    to the other end, and codes are cut towards 0. A dimension without a range has steps of 1.
    """
    start_D, step_D = _steps(ranges_ED)
    return (((x_ND - start_D) / step_D).floor().clamp(0, STEPS) - 128).to(torch.int8)


def to_binary(x_ND: Tensor) -> Tensor:
    """A bit a value, 1 where it is above 0, eight to a byte, the first one highest: (N, ceil(D / 8)) of uint8.

    These are the codes "ubinary"; "binary" has 128 less in each byte, as int8.
    """
    bits_ND = torch.nn.functional.pad((x_ND > 0).to(torch.uint8), (0, -x_ND.shape[1] % 8))
    codes_NC: Tensor = (bits_ND.unflatten(1, (-1, 8)) << _places(bits_ND)).sum(2, dtype=torch.uint8)
    return codes_NC


def encoded(x_ND: Tensor, precision: VectorPrecision, ranges_ED: Tensor | None = None) -> Tensor:
    """The stored vectors. Raises ValueError for int8 without ranges."""
    if precision == "int8":
        return to_int8(x_ND, _given(ranges_ED))
    if precision == "binary":
        return to_binary(x_ND)
    return x_ND.to(torch.float16 if precision == "float16" else torch.float32)


def decoded(codes_NC: Tensor, precision: VectorPrecision, dim: int, ranges_ED: Tensor | None = None) -> Tensor:
    """What the stored vectors stand for, (N, dim), fp32: of int8 the middle of each step, of bits 1 and -1.

    The middle is what faiss's scalar quantizer decodes to. sentence-transformers takes a step's start: all dot products
    of a query are less by the same amount, so that the order is the same. Raises ValueError for int8 without ranges.
    """
    if precision == "int8":
        start_D, step_D = _steps(_given(ranges_ED))
        return (codes_NC.float() + 128.5) * step_D + start_D
    if precision == "binary":
        bits_ND = (codes_NC[:, :, None] >> _places(codes_NC)) & 1
        return 2 * bits_ND.flatten(1)[:, :dim].float() - 1
    return codes_NC.float()


def _steps(ranges_ED: Tensor) -> tuple[Tensor, Tensor]:
    """Where each dimension's steps start and how large they are, in fp32."""
    start_D, end_D = ranges_ED.float()
    step_D = (end_D - start_D) / STEPS
    return start_D, torch.where(step_D == 0, 1, step_D)


def _given(ranges_ED: Tensor | None) -> Tensor:
    if ranges_ED is None:
        raise ValueError("int8 needs the ranges of a calibration")
    return ranges_ED


def _places(codes: Tensor) -> Tensor:
    """How far each of a byte's bits is moved, the first one farthest."""
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=codes.device)
