"""Candidates of a batch that are no negatives of a row, because a text stands in the batch twice."""

from __future__ import annotations

from torch import Tensor


def no_negatives(texts_CB: Tensor) -> Tensor | None:
    """Which candidates to leave out for which row: bool (B, N), or None if every other row's candidate is a negative.

    texts_CB: a number for each text, equal texts equal numbers; columns anchors, positives, negatives ...; the N
    candidates are all but the anchors. For row i a candidate is no negative if its text is the row's anchor, or the
    positive of any row of the batch with that anchor. A row's own positive is left in.
    """
    rows = texts_CB.shape[1]
    anchors_B, positives_B, candidates_N = texts_CB[0], texts_CB[1], texts_CB[1:].reshape(-1)
    same_anchor_BB = anchors_B[:, None] == anchors_B
    positive_of_BN = candidates_N == positives_B[:, None]
    answers_BN = same_anchor_BB.float() @ positive_of_BN.float() > 0  # for some row with the anchor
    mask_BN = answers_BN | (candidates_N == anchors_B[:, None])
    mask_BN[:, :rows].fill_diagonal_(False)
    return mask_BN if mask_BN.any() else None
