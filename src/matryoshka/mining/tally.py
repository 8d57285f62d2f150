"""The numbers of a mining, added up part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from matryoshka.mining.candidates import Candidates, Numbers, Places
from matryoshka.mining.choosing import ChosenRows
from matryoshka.mining.mining import Mining
from matryoshka.mining.result import Found, Histogram, Sample
from matryoshka.mining.scored import ScoredRows
from matryoshka.mining.thresholds import RULES, UNKNOWN

SAMPLES = 30  # rows to read, spread over all
REFUSED_SHOWN = 5  # of a sample
BINS = 40


class Tally:
    """Counts, sums and scores of all parts, and rows to read.

    anchors, positives: the training rows' texts. source_row: the number that a row has in the source, from 1.
    """

    def __init__(
        self,
        mining: Mining,
        candidates: Candidates,
        anchors: Sequence[str],
        positives: Sequence[str],
        source_row: Callable[[int], int],
    ) -> None:
        self.mining = mining
        self.candidates = candidates
        self.anchors = anchors
        self.positives = positives
        self.source_row = source_row
        self.counts: Counter[str] = Counter()
        self.scores: dict[str, list[Numbers]] = {"positives": [], "negatives": [], "refused": []}
        self.ranks = 0
        self.sampled = set(np.linspace(0, len(anchors) - 1, SAMPLES).round().astype(int).tolist())
        self.samples: list[Sample] = []

    def add(self, part: ScoredRows, refused_by_RD: Places, chosen: ChosenRows) -> None:
        """Count a part."""
        window_RD = refused_by_RD[:, self.mining.first - 1 : self.mining.last]
        distinct_MK = ~chosen.repeated_MK
        self.counts["considered"] += int((window_RD != UNKNOWN).sum())
        for number, rule in enumerate(RULES, start=1):
            self.counts[rule] += int((window_RD == number).sum())
        self.counts["mined"] += len(chosen.rows)
        self.counts["left_out"] += chosen.left_out
        self.counts["negatives"] += int(distinct_MK.sum())
        self.counts["beyond"] += int((chosen.beyond_MK & distinct_MK).sum())
        self.counts["repeated"] += int(chosen.repeated_MK.sum())
        self.ranks += int(chosen.ranks_MK[distinct_MK].sum())
        self.scores["positives"].append(chosen.positive_M)
        self.scores["negatives"].append(chosen.scores_MK[distinct_MK])
        in_window_RD = part.scores_RD[:, self.mining.first - 1 : self.mining.last]
        self.scores["refused"].append(in_window_RD[window_RD > 0])
        self._sample(part, refused_by_RD, chosen)

    def numbers(self) -> dict[str, Any]:
        """The fields of MiningResult that are counted."""
        every = {name: np.concatenate(parts) for name, parts in self.scores.items()}
        fields = ("mined", "left_out", "negatives", "beyond", "repeated", "considered")
        return {
            **{name: self.counts[name] for name in fields},
            "refused": {rule: self.counts[rule] for rule in RULES if getattr(self.mining, rule) is not None},
            "mean_rank": self.ranks / max(1, self.counts["negatives"]),
            "mean_positive": _mean(every["positives"]),
            "mean_negative": _mean(every["negatives"]),
            "histogram": _histogram(every),
        }

    def _sample(self, part: ScoredRows, refused_by_RD: Places, chosen: ChosenRows) -> None:
        for place, row in enumerate(chosen.rows):
            if row in self.sampled:
                found = zip(
                    *(x_MK[place].tolist() for x_MK in (chosen.candidates_MK, chosen.ranks_MK, chosen.scores_MK)),
                    chosen.repeated_MK[place].tolist(),
                    strict=True,
                )
                negatives = tuple(
                    Found(self.candidates.texts[candidate], rank, score)
                    for candidate, rank, score, repeated in found
                    if not repeated
                )
                refused = self._refused(part, refused_by_RD, part.rows.index(row))
                score = float(chosen.positive_M[place])
                texts = self.anchors[row], self.positives[row]
                self.samples.append(Sample(self.source_row(row), *texts, score, negatives, refused))

    def _refused(self, part: ScoredRows, refused_by_RD: Places, place: int) -> tuple[Found, ...]:
        window = range(self.mining.first - 1, min(self.mining.last, refused_by_RD.shape[1]))
        columns = [column for column in window if refused_by_RD[place, column] > 0][:REFUSED_SHOWN]
        return tuple(
            Found(
                self.candidates.texts[part.candidates_RD[place, column]],
                column + 1,
                float(part.scores_RD[place, column]),
                RULES[refused_by_RD[place, column] - 1],
            )
            for column in columns
        )


def _mean(scores: Numbers) -> float:
    return float(scores.astype(np.float64).mean()) if len(scores) else 0.0


def _histogram(every: dict[str, Numbers]) -> Histogram:
    whole = np.concatenate(list(every.values())).astype(np.float64)
    low, high = (float(whole.min()), float(whole.max())) if len(whole) else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    counts = {name: tuple(np.histogram(scores, edges)[0].tolist()) for name, scores in every.items()}
    return Histogram(tuple(edges.tolist()), **counts)
