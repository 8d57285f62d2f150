"""How similar an anchor and a passage are, and what a similarity is worth beside that of random pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from matryoshka.evaluation.nearest import exact_cosine, exact_length
from matryoshka.mining.candidates import Candidates, Numbers
from matryoshka.mining.cross_encoder import CrossEncoder
from matryoshka.projection.pair_vectors import CHUNK, PairVectors

AT_ONCE = 4096  # pairs whose vectors are in memory
LEAST = 1e-6  # of 1 - mu, so that an encoder that makes all texts alike divides by something


class Scorer(Protocol):
    """Scores pairs of the training rows' texts."""

    name: str

    @property
    def random(self) -> float:
        """The score of random pairs, which is rescaled to 0."""

    def scores(self, rows: Sequence[int], positives_of: Sequence[int]) -> Numbers:
        """The score of each row's anchor with the positive of the row beside it, (P,), fp32."""

    def rescaled(self, scores: Numbers) -> Numbers:
        """What thresholds are compared with: at most 1, and 0 for random pairs."""


class CosineScorer:
    """The encoder's cosine similarity at its full width; it depends on the two texts alone.

    Many encoders put all texts close together: of E5's, random pairs have .7 and more, and a share of the positive's
    similarity means little. So thresholds see (s - mu) / (1 - mu), with mu the mean similarity of all pairs of
    an anchor and a candidate.
    """

    def __init__(self, name: str, vectors: PairVectors, candidates: Candidates) -> None:
        self.name = name
        self.vectors = vectors
        self.candidates = candidates

    @cached_property
    def random(self) -> float:
        """mu: the mean of all products is the product of the mean vectors."""
        rows_C = self.vectors.positive_N[torch.tensor(self.candidates.rows)]
        anchor_D = _mean_direction(self.vectors.anchors_AD, self.vectors.anchor_N)
        return float(anchor_D @ _mean_direction(self.vectors.positives_PD, rows_C))

    def scores(self, rows: Sequence[int], positives_of: Sequence[int]) -> Numbers:
        """As Scorer."""
        anchor_P = self.vectors.anchor_N[torch.tensor(rows, dtype=torch.int64)]
        positive_P = self.vectors.positive_N[torch.tensor(positives_of, dtype=torch.int64)]
        scores_P = np.zeros(len(rows), np.float32)
        for start in range(0, len(rows), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            anchors_PD = self.vectors.anchors_AD[anchor_P[some]].double()
            positives_PD = self.vectors.positives_PD[positive_P[some]].double()
            scores_P[some] = exact_cosine(anchors_PD, positives_PD, exact_length(anchors_PD)).float().numpy()
        return scores_P

    def rescaled(self, scores: Numbers) -> Numbers:
        """As Scorer."""
        return (scores.astype(np.float64) - self.random) / max(LEAST, 1 - self.random)


class CrossEncoderScorer:
    """A cross-encoder's logits. Thresholds see them through a sigmoid, where most random pairs are near 0 already."""

    random = 0.0

    def __init__(
        self, name: str, cross_encoder: CrossEncoder, anchors: Sequence[str], positives: Sequence[str]
    ) -> None:
        self.name = name
        self.cross_encoder = cross_encoder
        self.anchors = anchors
        self.positives = positives

    def scores(self, rows: Sequence[int], positives_of: Sequence[int]) -> Numbers:
        """As Scorer."""
        return self.cross_encoder.scores(
            [self.anchors[row] for row in rows], [self.positives[row] for row in positives_of]
        )

    def rescaled(self, scores: Numbers) -> Numbers:
        """As Scorer."""
        rescaled: Numbers = 1 / (1 + np.exp(-scores.astype(np.float64)))
        return rescaled


def _mean_direction(x_MD: Tensor, rows_M: Tensor) -> Tensor:
    """The mean of these rows, each of length 1, (D,), in fp64."""
    sums_SD = torch.stack([F.normalize(x_MD[some_S].double(), dim=1).sum(0) for some_S in rows_M.split(CHUNK)])
    return sums_SD.sum(0) / len(rows_M)
