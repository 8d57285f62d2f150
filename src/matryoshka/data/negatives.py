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


class KnownPositives:
    """A candidate is no negative of a row if its text is the row's anchor, or answers that anchor in any training pair.

    So several rows of one question are one question with all its answers, wherever in the batch an answer stands.
    """

    of_draws = True

    def __init__(self, texts: Sequence[Sequence[int]], pairs: Dataset) -> None:
        self.texts = texts
        self.known: dict[int, set[int]] = {}
        for anchor, positive in texts.answers() if isinstance(texts, Draws) else (row[:2] for row in texts):
            self.known.setdefault(anchor, {anchor}).add(positive)

    def masks(self, batches: BatchSummary) -> bool:
        """Yes, where several rows share a text."""
        return batches.sharing > 0

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """Leave out by all training pairs."""
        anchors_B, *columns = zip(*(self.texts[row] for row in rows), strict=True)
        places: dict[int, list[int]] = {}
        for place, text in enumerate(text for column in columns for text in column):
            places.setdefault(text, []).append(place)
        found = [
            (row, place)
            for row, anchor in enumerate(anchors_B)
            for text in self.known[anchor]
            for place in places.get(text, ())
            if place != row
        ]
        if not found:
            return None
        mask_BN = torch.zeros(len(rows), len(rows) * len(columns), dtype=torch.bool)
        mask_BN[tuple(zip(*found, strict=True))] = True
        return mask_BN
