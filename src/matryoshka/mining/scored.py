"""Training rows with the candidates that were found for them and their scores: what is kept of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matryoshka.mining.candidates import Candidates, Numbers, Places
from matryoshka.mining.mining import Mining
from matryoshka.mining.scorers import Scorer
from matryoshka.mining.searchers import Searcher, ranked_candidates
from matryoshka.mining.thresholds import Thresholds, passing


@dataclass(frozen=True)
class ScoredRows:
    """Of R training rows the candidates by rank, and scores: (R, D), and of their positives, (R,).

    Rank 1 is column 0. A candidate is -1 behind the last that was found. A score is NaN there, and where it was not
    needed: in front of the ranks that are taken from, and behind them where these are enough.
    """

    rows: Sequence[int]
    candidates_RD: Places
    scores_RD: Numbers
    positive_R: Numbers

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class RowSearch:
    """Finds and scores the candidates of rows. A row's result depends on no other row."""

    mining: Mining
    candidates: Candidates
    searchers: Sequence[Searcher]
    scorer: Scorer

    @property
    def thresholds(self) -> Thresholds:
        """As configured."""
        return Thresholds(self.mining.relative, self.mining.absolute)

    def __call__(self, rows: Sequence[int]) -> ScoredRows:
        """Search all rows; score the ranks that are taken from, and further ones of rows where too few pass."""
        mining = self.mining
        found_RD = ranked_candidates(self.searchers, self.candidates, rows, mining.depth)
        scores_RD = np.full(found_RD.shape, np.nan, np.float32)
        positive_R = self.scorer.scores(rows, rows)
        self._score(rows, found_RD, scores_RD, range(len(rows)), slice(mining.first - 1, mining.last))
        refused_RD = self.thresholds.refused_by(self.scorer, scores_RD, positive_R)
        few = np.flatnonzero(passing(refused_RD, slice(None)) < mining.per_row).tolist()
        self._score(rows, found_RD, scores_RD, few, slice(mining.last, mining.depth))
        return ScoredRows(rows, found_RD, scores_RD, positive_R)

    def _score(
        self, rows: Sequence[int], found_RD: Places, scores_RD: Numbers, which: Sequence[int], ranks: slice
    ) -> None:
        """Fill in the scores of these ranks of some of the rows."""
        some_RD = np.full(found_RD.shape, -1, np.int64)
        some_RD[list(which), ranks] = found_RD[list(which), ranks]
        place_P, rank_P = (some_RD >= 0).nonzero()
        positives_of = [self.candidates.rows[candidate] for candidate in some_RD[place_P, rank_P].tolist()]
        scores_RD[place_P, rank_P] = self.scorer.scores([rows[place] for place in place_P.tolist()], positives_of)
