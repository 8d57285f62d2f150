"""Vectors of unit length and their codes in fewer bytes, in numpy: bit for bit those of `evaluation/deployment`.

`evaluation.deployment.quantisation` has the same formulas in torch, which takes seconds to import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]
Code = Literal["float32", "float16", "int8", "binary"]
NUMPY: dict[Code, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "binary": np.dtype("u1"),
}
STEPS = np.float32(255)  # between the lowest and the highest of the 256 codes of a byte


@dataclass(frozen=True)
class Encoding:
    """How vectors of `dim` numbers are stored. ranges_ED: of int8, the least and largest value of each dimension."""

    code: Code
    dim: int
    ranges_ED: Floats | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        return NUMPY[self.code]

    @property
    def width(self) -> int:
        """How many of them a vector has: bits are filled up to whole bytes."""
        return -(-self.dim // 8) if self.code == "binary" else self.dim

    @property
    def row_bytes(self) -> int:
        """Bytes of a vector."""
        return self.width * self.dtype.itemsize

    def __call__(self, x_ND: Floats) -> Array:
        """The stored form of vectors of unit length. Raises ValueError for int8 without ranges."""
        if self.code == "binary":
            bits_NC: Array = np.packbits(x_ND > 0, axis=1)  # the first one highest
            return bits_NC
        if self.code != "int8":
            return x_ND.astype(self.dtype, copy=False)
        if self.ranges_ED is None:
            raise ValueError("int8 needs the ranges of a calibration")
        start_D, end_D = self.ranges_ED
        step_D = (end_D - start_D) / STEPS
        step_D[step_D == 0] = 1
        codes_ND: Array = (np.floor((x_ND - start_D) / step_D).clip(0, STEPS) - 128).astype(np.int8)
        return codes_ND


def unit(x_ND: Floats) -> Floats:
    """Each row divided by its length, in place. Rows without a finite length above 0 come out as something else."""
    with np.errstate(all="ignore"):
        x_ND /= lengths(x_ND)[:, None]
    return x_ND


def lengths(x_ND: Floats) -> Floats:
    """Of each row: infinite or NaN where a number is."""
    with np.errstate(all="ignore"):
        lengths_N: Floats = np.sqrt(np.einsum("nd,nd->n", x_ND, x_ND))
    return lengths_N
