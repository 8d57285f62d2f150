"""Candidates of a batch that are no negatives of a row, because a text stands in the batch twice."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def no_negatives(columns: Sequence[Sequence[Sequence[int]]]) -> Tensor | None:
    """Which candidates to leave out for which row: bool (B, N), or None if every other row's candidate is a negative.

    columns: token ids of anchors, positives, negatives ..., B of each; the N candidates are all but the anchors. For
    row i a candidate is no negative if it is the text of the row's anchor or positive, or if it is the positive of
    another row with the same anchor. A row's own positive is left in.
    """
    numbers: dict[tuple[int, ...], int] = {}
    keys_CB = torch.tensor([[numbers.setdefault(tuple(ids), len(numbers)) for ids in column] for column in columns])
    rows = len(columns[0])
    if len(numbers) == keys_CB.numel():
        return None
    anchors_B, positives_B, candidates_N = keys_CB[0], keys_CB[1], keys_CB[1:].reshape(-1)
    mask_BN = (candidates_N == positives_B[:, None]) | (candidates_N == anchors_B[:, None])
    mask_BN[:, :rows] |= anchors_B == anchors_B[:, None]
    mask_BN[:, :rows].fill_diagonal_(False)
    return mask_BN if mask_BN.any() else None
