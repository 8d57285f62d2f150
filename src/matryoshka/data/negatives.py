"""Which candidates of a batch are no negatives of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from matryoshka.data.draws import Draws

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.samplers import BatchSummary


class Negatives(Protocol):
    """Made of all training pairs.

    texts: per row a number for each of its texts; equal texts have equal numbers. pairs: the texts themselves.
    Where rows are drawn from lists, texts are Draws, `mask` gets numbers of draws, and pairs have the first texts
    of each list: a class that can do with them says so by `of_draws = True` of its own.
    """

    of_draws: bool

    def __init__(self, texts: Sequence[Sequence[int]], pairs: Dataset) -> None: ...

    def masks(self, batches: BatchSummary) -> bool:
        """Whether anything is left out of these batches."""

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """Candidates to leave out for each of the batch's rows, bool (B, N); None if every other one is a negative.

        The N candidates are the rows' positives, then their first negatives ...; a row's own positive stays.
        """


class EveryOther:
    """Every other row's candidate is a negative, as in sentence-transformers."""

    of_draws = True

    def __init__(self, texts: Sequence[Sequence[int]], pairs: Dataset) -> None: ...

    def masks(self, batches: BatchSummary) -> bool:
        """Never."""
        return False

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """Nothing is left out."""
        return None


class EqualTexts:
    """A candidate is no negative if its text is the row's anchor, or answers that anchor in any row of the batch."""

    of_draws = True

    def __init__(self, texts: Sequence[Sequence[int]], pairs: Dataset) -> None:
        self.texts = texts

    def masks(self, batches: BatchSummary) -> bool:
        """Yes, where equal texts meet in a batch."""
        return batches.clashing > 0

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """Leave out by the texts of the batch alone."""
        return no_negatives(torch.tensor([self.texts[row] for row in rows]).T)


class KnownPositives(EqualTexts):
    """As EqualTexts, and a candidate that answers the row's anchor in any training pair is no negative."""

    of_draws = True

    def __init__(self, texts: Sequence[Sequence[int]], pairs: Dataset) -> None:
        super().__init__(texts, pairs)
        self.answers: dict[int, set[int]] = {}
        pairs_of = texts.answers() if isinstance(texts, Draws) else ((row[0], row[1]) for row in texts)
        for anchor, positive in pairs_of:
            self.answers.setdefault(anchor, set()).add(positive)

    def masks(self, batches: BatchSummary) -> bool:
        """Yes, where several rows share a text."""
        return batches.sharing > 0

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """Leave out by all training pairs."""
        texts_CB = torch.tensor([self.texts[row] for row in rows]).T
        candidates = texts_CB[1:].reshape(-1).tolist()
        anchors = texts_CB[0].tolist()
        known_BN = torch.tensor([[c == a or c in self.answers[a] for c in candidates] for a in anchors])
        known_BN[:, : len(rows)].fill_diagonal_(False)
        return known_BN if known_BN.any() else None


def no_negatives(texts_CB: Tensor) -> Tensor | None:
    """Which candidates to leave out for which row: bool (B, N), or None if every other row's candidate is a negative.

    texts_CB: a number for each text, equal texts equal numbers; columns anchors, positives, negatives ...; the N
    candidates are all but the anchors. For row i a candidate is no negative if its text is the row's anchor, or the
    positive of any row of the batch with that anchor. A row's own positive is left in.
    """
    if len(texts_CB.unique()) == texts_CB.numel():  # as in most batches, where the products below need not be made
        return None
    rows = texts_CB.shape[1]
    anchors_B, positives_B, candidates_N = texts_CB[0], texts_CB[1], texts_CB[1:].reshape(-1)
    same_anchor_BB = anchors_B[:, None] == anchors_B
    positive_of_BN = candidates_N == positives_B[:, None]
    answers_BN = same_anchor_BB.float() @ positive_of_BN.float() > 0  # for some row with the anchor
    mask_BN = answers_BN | (candidates_N == anchors_B[:, None])
    mask_BN[:, :rows].fill_diagonal_(False)
    return mask_BN if mask_BN.any() else None
