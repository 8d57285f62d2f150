"""Two runs on the same queries: how far apart they are at every dim, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from matryoshka.errors import UserError
from matryoshka.evaluation.uncertainty import Floats, Ints, bootstrap_intervals, holm, paired_randomisation
from matryoshka.evaluation.written_rankings import Protocol, WrittenRankings, read_rankings

LEVEL = 0.05  # of the adjusted p, below which a difference is called one
MOST = 5  # queries shown that gained most, and as many that lost most


@dataclass(frozen=True)
class ChangedQuery:
    """A query that the two runs answer differently.

    first_value, second_value: of the metric. first_rank, second_rank: of the first right answer, from 1; 0 where no hit
    is right. answer: the right answer found by the run that does better. first_top, second_top: the best hits.
    """

    query: str
    text: str
    first_value: float
    second_value: float
    first_rank: int
    second_rank: int
    answer: str
    first_top: str
    second_top: str


@dataclass(frozen=True)
class DimComparison:
    """Two runs at one dim.

    first, second: the means over queries. difference: second less first. interval: of the difference, 95%, by bootstrap
    over clusters; None if all queries are one cluster. p: of the paired randomisation test. adjusted_p: by Holm, over
    the dims. wins, losses, ties: queries that the second answers better, worse, equally well. changed: the queries that
    changed most, up to five each way.
    """

    dim: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None
    p: float
    adjusted_p: float
    wins: int
    losses: int
    ties: int
    changed: tuple[ChangedQuery, ...]

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown"]:
        """What the second is, where the adjusted p is at most .05."""
        if self.adjusted_p > LEVEL:
            return "no difference shown"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """Two runs by one metric, at every dim that both have, widest first.

    first, second: the runs' folders, or `base` and `tuned`. data, fingerprint: of the set that both were measured on.
    """

    title: str
    first: str
    second: str
    first_model: str
    second_model: str
    metric: str
    protocol: Protocol
    data: str
    fingerprint: str
    queries: int
    clusters: int
    dims: tuple[DimComparison, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, the verdict of each dim among them."""
        dims = [{**asdict(dim), "verdict": dim.verdict} for dim in self.dims]
        return {**asdict(self), "dims": dims}


def compare(first: Path, second: Path, metric: str = "ndcg@10", protocol: Protocol = "as_is") -> Comparison:
    """The second run beside the first, by what they wrote; a run with itself: its base beside what it was tuned to.

    first, second: folders of train.py or evaluate.py. protocol: merged counts copies as one document. Raises UserError
    if something is missing, the metric was not measured, or the runs have other data or no dim in common.
    """
    same = first.resolve() == second.resolve()
    one = read_rankings(first, metric, protocol, base=same)
    other = read_rankings(second, metric, protocol)
    names = ("base", "tuned") if same else (str(first), str(second))
    return Comparison(
        title=f"base -> tuned of {first}" if same else f"{first} -> {second}",
        first=names[0],
        second=names[1],
        first_model=one.model,
        second_model=other.model,
        metric=metric,
        protocol=protocol,
        data=one.data,
        fingerprint=one.fingerprint,
        queries=len(one.query_ids),
        clusters=len(np.unique(one.clusters_Q)),
        dims=tuple(_by_dim(one, other, _dims_in_common(one, other))),
    )


def _dims_in_common(one: WrittenRankings, other: WrittenRankings) -> list[int]:
    both = f"{one.folder} and {other.folder}"
    if one.fingerprint != other.fingerprint or one.query_ids != other.query_ids:
        raise UserError(
            f"{both} are of other data ({one.data}, {other.data}), and only values of the same queries over the same "
            "documents can be compared; measure both models with python evaluate.py model=... data=..., the same data"
        )
    dims = sorted(one.values.keys() & other.values.keys(), reverse=True)
    if not dims:
        raise UserError(
            f"{both} have no dim in common ({_listed(one)} and {_listed(other)}); measure one of the models with "
            f"python evaluate.py model=... dims=[{_listed(one)}]"
        )
    return dims


def _listed(rankings: WrittenRankings) -> str:
    return ",".join(map(str, sorted(rankings.values, reverse=True)))


def _by_dim(one: WrittenRankings, other: WrittenRankings, dims: list[int]) -> Iterator[DimComparison]:
    first_QD, second_QD = (np.stack([run.values[dim] for dim in dims], axis=1) for run in (one, other))
    difference_QD = second_QD - first_QD
    intervals = np.stack(bootstrap_intervals(difference_QD, one.clusters_Q), axis=1).tolist()
    p_D = paired_randomisation(first_QD, second_QD, one.clusters_Q)
    adjusted_D = holm(p_D)
    changed = _changed(one, other, dims, difference_QD)
    for i, (dim, (low, high)) in enumerate(zip(dims, intervals, strict=True)):
        yield DimComparison(
            dim=dim,
            first=float(first_QD[:, i].mean()),
            second=float(second_QD[:, i].mean()),
            difference=float(difference_QD[:, i].mean()),
            interval=None if np.isnan(low) else (low, high),
            p=float(p_D[i]),
            adjusted_p=float(adjusted_D[i]),
            wins=int((difference_QD[:, i] > 0).sum()),
            losses=int((difference_QD[:, i] < 0).sum()),
            ties=int((difference_QD[:, i] == 0).sum()),
            changed=changed[i],
        )


def _most(difference_Q: Floats) -> Ints:
    """The queries that gained most and those that lost most, by how much."""
    order_Q = np.argsort(difference_Q, kind="stable")
    lost, gained = order_Q[:MOST], np.argsort(-difference_Q, kind="stable")[:MOST]
    both = np.concatenate([gained[difference_Q[gained] > 0], lost[difference_Q[lost] < 0]])
    return both[np.argsort(-np.abs(difference_Q[both]), kind="stable")]


def _changed(
    one: WrittenRankings, other: WrittenRankings, dims: list[int], difference_QD: Floats
) -> list[tuple[ChangedQuery, ...]]:
    """Of each dim the queries that changed most, with the texts that explain it."""
    rows = [_most(difference_QD[:, i]).tolist() for i in range(len(dims))]
    queries = {one.query_ids[row] for found in rows for row in found}
    hits = [run.documents(queries) for run in (one, other)]
    documents = [run.texts("document", set(found.values())) for run, found in zip((one, other), hits, strict=True)]
    asked = one.texts("query", queries)

    def changed(dim: int, row: int, gain: float) -> ChangedQuery:
        query, runs = one.query_ids[row], (one, other)
        ranks = [int(run.first_hit[dim][row]) for run in runs]
        tops = [texts.get(found.get((dim, query, 1), ""), "") for found, texts in zip(hits, documents, strict=True)]
        better = int(gain > 0)  # it has a right answer among its hits, else its value would not be the higher one
        return ChangedQuery(
            query=query,
            text=asked.get(query, ""),
            first_value=float(one.values[dim][row]),
            second_value=float(other.values[dim][row]),
            first_rank=ranks[0],
            second_rank=ranks[1],
            answer=documents[better].get(hits[better].get((dim, query, ranks[better]), ""), ""),
            first_top=tops[0],
            second_top=tops[1],
        )

    return [tuple(changed(dim, row, difference_QD[row, i]) for row in rows[i]) for i, dim in enumerate(dims)]
