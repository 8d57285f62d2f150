"""What is too similar to an anchor to be trained as wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matryoshka.mining.candidates import Numbers, Places
from matryoshka.mining.scorers import Scorer

RULES = ("relative", "absolute")  # in this order; what both refuse counts for the first
PASSES, UNKNOWN = 0, -1  # other than the number of a rule, from 1


@dataclass(frozen=True)
class Thresholds:
    """relative: a share of the positive's rescaled score; absolute: a rescaled score. None: anything passes."""

    relative: float | None
    absolute: float | None

    def refused_by(self, scorer: Scorer, scores_RD: Numbers, positive_R: Numbers) -> Places:
        """The number of the rule that refuses, from 1; 0 for what passes; -1 where there is no score (NaN)."""
        rescaled_RD, most_R = scorer.rescaled(scores_RD), scorer.rescaled(positive_R)
        refused_RD = np.full(scores_RD.shape, PASSES, np.int64)
        if self.absolute is not None:
            refused_RD[rescaled_RD > self.absolute] = 1 + RULES.index("absolute")
        if self.relative is not None:
            refused_RD[rescaled_RD > self.relative * most_R[:, None]] = 1 + RULES.index("relative")
        refused_RD[np.isnan(scores_RD)] = UNKNOWN
        return refused_RD


def passing(refused_by_RD: Places, window: slice) -> npt.NDArray[np.intp]:
    """How many of these ranks pass, (R,)."""
    count_R: npt.NDArray[np.intp] = (refused_by_RD[:, window] == PASSES).sum(1)
    return count_R
