"""Vectors after the matrix, of length 1. A row for which that cannot be is found and named."""

from __future__ import annotations

import numpy as np

from matryoshka.errors import DataError
from matryoshka.projection.codes import Array, Floats, lengths

SHORTEST = 1e-15  # a length below or above what squares in float32 can tell: such rows are computed again in float64
LONGEST = 1e15


def directions(x_ND: Array, matrix_Dd: Floats | None, dim: int, where: str, first: int) -> Floats:
    """The block's vectors after the matrix, or cut where there is none, of length 1. Raises DataError for a bad row.

    A number that is not finite makes its whole row so, and a row of zeros stays one: the lengths of what comes out tell
    both, for a fraction of the time that reading all numbers once more takes. What is cut away has to be looked at.
    """
    with np.errstate(all="ignore"):
        x_ND32: Floats = x_ND.astype(np.float32, copy=False)
        y_Nd = x_ND32[:, :dim].copy() if matrix_Dd is None else x_ND32 @ matrix_Dd
        length_N = lengths(y_Nd)
        y_Nd /= length_N[:, None]
    plain_N = (length_N > SHORTEST) & (length_N < LONGEST)
    if matrix_Dd is None:
        plain_N &= np.isfinite(lengths(x_ND32))
    for row in np.flatnonzero(~plain_N):
        y_Nd[row] = _direction(x_ND[row].astype(np.float64), matrix_Dd, dim, f"{where}, row {first + row}")
    return y_Nd


def _direction(x_D: Array, matrix_Dd: Floats | None, dim: int, where: str) -> Array:
    """The same of one row, in float64, whatever its length."""
    if not np.isfinite(x_D).all():
        place = int(np.isfinite(x_D).argmin())
        raise DataError(f"{where}: its number {place} is {x_D[place]}; leave the row out, or embed its text again")
    if not x_D.any():
        raise DataError(f"{where} is zeros, which have no direction; leave the row out, or embed its text again")
    x_D = x_D / np.abs(x_D).max()
    y_d: Array = x_D[:dim].copy() if matrix_Dd is None else x_D @ matrix_Dd.astype(np.float64)
    if not (length := np.sqrt(y_d @ y_d)):
        raise DataError(f"{where} has no direction in its first {dim} numbers, which are zeros; take a larger dim")
    y_d /= length
    return y_d
