"""Which of a row's candidates become its negatives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matryoshka.mining.candidates import Numbers, Places
from matryoshka.mining.mining import Mining
from matryoshka.mining.scored import ScoredRows
from matryoshka.mining.thresholds import PASSES

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ChosenRows:
    """The negatives of those rows that have any: rows (M), and of each K negatives.

    candidates_MK, ranks_MK (from 1), scores_MK; positive_M. repeated_MK: a negative that stands there again, since too
    few passed. beyond_MK: one of a rank behind those that are taken from. refused_by_RD: of all R rows, which rule
    refuses each rank's candidate. left_out: how many rows have no negative.
    """

    rows: Sequence[int]
    candidates_MK: Places
    ranks_MK: Places
    scores_MK: Numbers
    positive_M: Numbers
    repeated_MK: Flags
    beyond_MK: Flags
    left_out: int


def chosen_rows(part: ScoredRows, refused_by_RD: Places, mining: Mining, seed: int) -> ChosenRows:
    """per_row negatives of each row: of the ranks as `pick` says, in their order; then the next that pass behind them;
    then those again that are there, so that every row has as many. A row for which nothing passes is left out.
    """
    places, columns, repeated = list[int](), list[list[int]](), list[list[bool]]()
    for place, row in enumerate(part.rows):
        passing = np.flatnonzero(refused_by_RD[place] == PASSES).tolist()
        wanted = _picked(passing, mining, f"{seed} {row}")
        if wanted:
            places.append(place)
            columns.append([wanted[i % len(wanted)] for i in range(mining.per_row)])
            repeated.append([i >= len(wanted) for i in range(mining.per_row)])
    columns_MK = np.array(columns, np.int64).reshape(-1, mining.per_row)
    at = (np.array(places, np.int64)[:, None], columns_MK)
    return ChosenRows(
        rows=[part.rows[place] for place in places],
        candidates_MK=part.candidates_RD[at],
        ranks_MK=columns_MK + 1,
        scores_MK=part.scores_RD[at],
        positive_M=part.positive_R[places],
        repeated_MK=np.array(repeated, bool).reshape(-1, mining.per_row),
        beyond_MK=columns_MK >= mining.last,
        left_out=len(part) - len(places),
    )


def _picked(passing: Sequence[int], mining: Mining, seed: str) -> list[int]:
    """The columns of a row's negatives, at most per_row."""
    within = [column for column in passing if column < mining.last]
    beyond = [column for column in passing if column >= mining.last]
    if mining.pick == "random" and len(within) > mining.per_row:
        within = sorted(random.Random(seed).sample(within, mining.per_row))
    return (within + beyond)[: mining.per_row]
