"""Candidates that a guide, an encoder that is not trained, finds about as near as the positive are no negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor

from matryoshka.data.draws import DrawnColumn
from matryoshka.data.negatives import KnownPositives

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.samplers import BatchSummary

MOST_UNRELATED = 1 - 1e-6  # where all texts are equal to the guide, nothing can be told apart
RANDOM_PAIRS = 10_000  # whose mean similarity is that of texts which have nothing to do with each other


class Guide(KnownPositives):
    """As KnownPositives, and a candidate is no negative that the guide finds about as near as the row's own positive.

    With s the guide's cosine similarity of a row's anchor, left out is s > s_positive - absolute, and
    s > s_positive - |s_positive| * relative: as sentence-transformers' GIST losses (Solatorio 2024, arXiv:2402.16829)
    with these margins. model: the guide by name; None: the encoder that is trained, before training. rescaled: first
    (s - m) / (1 - m), m the mean similarity of random pairs: where all cosines are between .7 and 1, as E5's, 5% of
    them is a third of what there is. It also gives these similarities as teacher_BN (see losses).
    """

    of_draws = True
    gives = frozenset({"teacher_BN"})  # the numbers that losses need not find in the data

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        pairs: Dataset,
        model: str | None = None,
        absolute: Annotated[float, Ge(-2), Le(2), "0.0, or null for none"] | None = None,
        relative: Annotated[float, Ge(-1), Le(1), "0.05, or null for none"] | None = 0.05,
        rescaled: bool = True,
    ) -> None:
        super().__init__(texts, pairs)
        self.model, self.absolute, self.relative, self.rescaled = model, absolute, relative, rescaled
        self.columns: list[tuple[Tensor, Tensor | DrawnColumn]] = []
        self.unrelated = 0.0
        self._last: tuple[tuple[int, ...], Tensor] | None = None  # one batch is asked for its mask and its numbers

    def masks(self, batches: BatchSummary) -> bool:
        """Which batches, only the guide knows."""
        return True

    def prepare(self, columns: Sequence[tuple[Tensor, Tensor | DrawnColumn]]) -> None:
        """Take the guide's embeddings: of each column of texts the distinct ones (U, D), and each row's among them."""
        unit = {id(texts_UD): F.normalize(texts_UD.float(), dim=1) for texts_UD, _ in columns}  # some share theirs
        self.columns = [(unit[id(texts_UD)], row_N) for texts_UD, row_N in columns]
        if self.rescaled:
            generator = torch.Generator().manual_seed(0)
            (anchors_UD, anchor_N), (positives_VD, positive_N) = self.columns[:2]
            one_P, other_P = torch.randint(len(anchor_N), (2, RANDOM_PAIRS), generator=generator)
            pairs_PD = anchors_UD[anchor_N[one_P]] * positives_VD[positive_N[other_P]]
            self.unrelated = min(float(pairs_PD.sum(1).mean()), MOST_UNRELATED)

    def similarities(self, rows: Sequence[int]) -> Tensor:
        """The guide's similarity of each row's anchor and each of the batch's candidates, (B, N)."""
        if self._last is None or self._last[0] != tuple(rows):
            (anchors_BD, *candidates) = (texts_UD[row_N[list(rows)]] for texts_UD, row_N in self.columns)
            similarity_BN = anchors_BD @ torch.cat(candidates).T
            self._last = tuple(rows), (similarity_BN - self.unrelated) / (1 - self.unrelated)
        return self._last[1]

    def numbers(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """What it says of the candidates, by the name under which a loss asks for it."""
        return {"teacher_BN": self.similarities(rows)}

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """Leave out by all training pairs, and by the guide."""
        known_BN, similarity_BN = super().mask(rows), self.similarities(rows)
        own_B1 = similarity_BN.diagonal()[:, None]
        mask_BN = torch.zeros_like(similarity_BN, dtype=torch.bool) if known_BN is None else known_BN
        if self.absolute is not None:
            mask_BN = mask_BN | (similarity_BN > own_B1 - self.absolute)
        if self.relative is not None:
            mask_BN = mask_BN | (similarity_BN > own_B1 - own_B1.abs() * self.relative)
        mask_BN[:, : len(rows)].fill_diagonal_(False)
        return mask_BN if mask_BN.any() else None
