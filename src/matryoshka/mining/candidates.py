"""The passages that can be negatives, and which of them a row may never have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from matryoshka.data.copies import normalised

Numbers = npt.NDArray[np.floating[Any]]
Places = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Candidates:
    """Distinct passages of the training pairs, of copies the first.

    rows: where each stands. never: for each training row the candidates that are no negatives of it. held_out: distinct
    passages that are none at all, since they equal a right answer of dev or test.
    """

    texts: Sequence[str]
    rows: Sequence[int]
    never: Sequence[frozenset[int]]
    held_out: int

    @classmethod
    def of(
        cls,
        anchors: Sequence[str],
        positives: Sequence[str],
        answers: Iterable[str],
        further: Iterable[tuple[str, str]] = (),
    ) -> Candidates:
        """Texts are equal as in data.copies. answers: the documents that are relevant in dev or test. further: an
        anchor and one more of its positives.

        Never a negative of a row: what answers an equal anchor in any row, and what equals its anchor.
        """
        anchor_of, positive_of = ([normalised(text) for text in texts] for texts in (anchors, positives))
        held_out = {normalised(text) for text in answers}
        distinct = dict[str, int]()
        for row, text in enumerate(positive_of):
            distinct.setdefault(text, row)
        rows = [row for text, row in distinct.items() if text not in held_out]
        number = {positive_of[row]: place for place, row in enumerate(rows)}
        right = dict[str, set[str]]()
        for anchor, positive in zip(anchor_of, positive_of, strict=True):
            right.setdefault(anchor, {anchor}).add(positive)
        for anchor, positive in further:
            right[normalised(anchor)].add(normalised(positive))
        never = {anchor: frozenset(number[text] for text in texts if text in number) for anchor, texts in right.items()}
        texts = [positives[row] for row in rows]
        return cls(texts, rows, [never[anchor] for anchor in anchor_of], len(distinct) - len(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def deepest(self, rows: Sequence[int], depth: int) -> int:
        """Hits that are asked for, so that so many are left of each row's."""
        return min(len(self), depth + max((len(self.never[row]) for row in rows), default=0))

    def ranked(self, rows: Sequence[int], hits_Rk: Places, depth: int) -> Places:
        """The hits that may be negatives, best first, (R, depth): rank 1 in column 0; -1 behind the last."""
        ranked_RD = np.full((len(rows), depth), -1, np.int64)
        for place, (row, hits) in enumerate(zip(rows, hits_Rk.tolist(), strict=True)):
            kept = [hit for hit in hits if hit >= 0 and hit not in self.never[row]][:depth]
            ranked_RD[place, : len(kept)] = kept
        return ranked_RD
