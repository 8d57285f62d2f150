"""How far a training moved the embeddings of texts."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from matryoshka.evaluation.deployment.measuring import drawn

TEXTS = 2_000  # of each side that are compared at most: the standard error is below .002 for a spread of .1


@dataclass(frozen=True)
class Drift:
    """Mean cosine similarity of the same text before and after training: 1 if no direction changed."""

    queries: float
    documents: float

    @property
    def worse(self) -> tuple[str, float]:
        """The side that moved further, and how far."""
        return min(("queries", self.queries), ("documents", self.documents), key=lambda side: side[1])


@dataclass(frozen=True)
class TextVectors:
    """Embeddings of some queries and of some documents, always of the same ones of a set."""

    queries_MD: Tensor
    documents_MD: Tensor

    @classmethod
    def drawn(cls, queries_UD: Tensor, documents_UD: Tensor, most: int = TEXTS) -> TextVectors:
        """All of them, or so many of each side by chance."""
        return cls(*(x_UD[drawn(len(x_UD), most)].clone() for x_UD in (queries_UD, documents_UD)))

    def drift(self, after: TextVectors) -> Drift:
        """From these to those of the same texts after training."""
        return Drift(mean_cosine(self.queries_MD, after.queries_MD), mean_cosine(self.documents_MD, after.documents_MD))


def mean_cosine(before_MD: Tensor, after_ME: Tensor) -> float:
    """Mean over rows of the cosine similarity of both, of the numbers that both have: a saved model may have fewer."""
    width = min(before_MD.shape[1], after_ME.shape[1])
    cosine_M = F.cosine_similarity(before_MD[:, :width].double(), after_ME[:, :width].double(), dim=1)
    return float(cosine_M.mean())
