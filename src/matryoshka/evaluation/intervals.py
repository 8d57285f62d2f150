"""The intervals of every metric at every dim, all from the same resamples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from matryoshka.evaluation.protocols import Ranking
from matryoshka.evaluation.result import Intervals
from matryoshka.evaluation.uncertainty import stratified_intervals

Protocols = Sequence[Mapping[int, Ranking]]


def metric_intervals(sets: Sequence[tuple[Protocols, Tensor]]) -> list[Intervals]:
    """Of each protocol the 95% intervals of the means over sets; sets: each one's protocols and clusters_Q."""
    first = sets[0][0]
    places = [(i, dim, name) for i, protocol in enumerate(first) for dim in protocol for name in protocol[dim].values]
    columns = [
        (np.stack([of[i][dim].values[name].numpy() for i, dim, name in places], axis=1), clusters_Q.numpy())
        for of, clusters_Q in sets
    ]
    ends = np.stack(stratified_intervals(columns), axis=1).tolist()
    found: list[dict[int, dict[str, tuple[float, float]]]] = [{dim: {} for dim in protocol} for protocol in first]
    for (i, dim, name), (low, high) in zip(places, ends, strict=True):
        if math.isfinite(low):  # of a single cluster there is none
            found[i][dim][name] = low, high
    return list(found)
