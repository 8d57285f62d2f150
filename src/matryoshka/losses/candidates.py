"""Whose candidate is whose: of B rows and N candidates, candidate j belongs to row j % B; the first B are positives."""

from __future__ import annotations

import torch
from torch import Tensor


def own_positives(scores_BN: Tensor) -> Tensor:
    """True at each row's own positive, (B, N). scores_BN: a matrix of this shape, or a stack of them."""
    return torch.eye(*scores_BN.shape[-2:], dtype=torch.bool, device=scores_BN.device)


def own_negatives(scores_BN: Tensor) -> Tensor:
    """True at each row's own hard negatives, (B, N)."""
    rows, candidates = scores_BN.shape[-2:]
    places_N = torch.arange(candidates, device=scores_BN.device)
    own_BN: Tensor = places_N % rows == places_N[:rows, None]
    return own_BN & (places_N >= rows)


def left_out(scores_BN: Tensor, mask_BN: Tensor | None) -> Tensor | None:
    """What a mask leaves out of a matrix of this shape: a row's own positive never is."""
    return None if mask_BN is None else mask_BN & ~own_positives(scores_BN)
