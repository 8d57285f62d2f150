"""What a shorter or coarser vector costs: a metric against bytes per vector, for every dim and precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from matryoshka.evaluation.deployment.quantisation import PRECISIONS, VectorPrecision, bytes_per_vector
from matryoshka.evaluation.deployment.stored_vectors import Judge, StoredVectors
from matryoshka.evaluation.result import display_name
from matryoshka.evaluation.ties import EXPECTED

RESCORED = 4  # times the metric's k: hits of the coarse search that are put in the order of the full vectors
QUERIES = 1000  # measured at most: the standard error of a mean over them is 0.016 at most
LONG = 10**7  # pairs of a query and a document that take seconds
Way = tuple[int, VectorPrecision]


@dataclass(frozen=True)
class DeploymentOption:
    """One way to store vectors, and what it is worth.

    rescored: the first hits are put in the order of the full vectors in float32, which then must be at hand, on disk
    for instance; bytes_per_vector are those of the index that is searched. value: the metric. retention: value / value
    of the full width in float32.
    """

    dim: int
    precision: VectorPrecision
    rescored: bool
    bytes_per_vector: int
    value: float
    retention: float

    def beats(self, other: DeploymentOption) -> bool:
        """Whether it is better in bytes or value and worse in neither."""
        no_worse = self.bytes_per_vector <= other.bytes_per_vector and self.value >= other.value
        return no_worse and (self.bytes_per_vector, self.value) != (other.bytes_per_vector, other.value)

    @property
    def name(self) -> str:
        """`256 x int8`."""
        return f"{self.dim} x {self.precision}{', rescored' if self.rescored else ''}"


@dataclass(frozen=True)
class Deployment:
    """All options of one model on one retrieval set, by dim and precision, the largest first, plain before rescored.

    calibration: texts that the ranges of int8 come from. rescored_hits: how many are put in the order of the full
    vectors. chosen: dim and precision of the plain option that the dev queries chose; None if these queries choose.
    """

    metric: str
    options: tuple[DeploymentOption, ...]
    calibration: int
    queries: int
    documents: int
    rescored_hits: int
    chosen: tuple[int, str] | None = None

    @property
    def dims(self) -> list[int]:
        """The dims measured, widest first."""
        return sorted({option.dim for option in self.options}, reverse=True)

    @property
    def precisions(self) -> list[VectorPrecision]:
        """The precisions measured, most bytes first."""
        return list(dict.fromkeys(option.precision for option in self.options))

    @property
    def full(self) -> DeploymentOption:
        """The full width in float32."""
        return self.options[0]

    @property
    def metric_name(self) -> str:
        """The metric as the field writes it: nDCG@10."""
        return display_name(self.metric)

    def option(self, dim: int, precision: str, rescored: bool = False) -> DeploymentOption:
        """One of the options; the full width in float32 is as good rescored. Raises KeyError if it was not measured."""
        rescored = rescored and (dim, precision) != (self.full.dim, self.full.precision)
        for option in self.options:
            if (option.dim, option.precision, option.rescored) == (dim, precision, rescored):
                return option
        raise KeyError(f"{dim} x {precision}")

    def pareto(self, rescored: bool = False) -> list[DeploymentOption]:
        """The options that no other beats, by ascending bytes: of the plain ones, or of all."""
        some = [option for option in self.options if rescored or not option.rescored]
        kept = [option for option in some if not any(other.beats(option) for other in some)]
        return sorted(kept, key=lambda option: option.bytes_per_vector)

    def chosen_by(self, dev: Deployment, keep: float = 0.98) -> Deployment:
        """The same with the option that `dev` advises: the best of many is worth less on queries that did not pick it.

        Raises KeyError if that option was not measured here.
        """
        best = dev.advised(keep)
        self.option(best.dim, best.precision)
        return replace(self, chosen=(best.dim, best.precision))

    def advised(self, keep: float = 0.98) -> DeploymentOption:
        """The chosen option; else the plain one of fewest bytes that keeps `keep` of the full value, or the full."""
        if self.chosen:
            return self.option(*self.chosen)
        good = [option for option in self.options if not option.rescored and option.retention >= keep]
        return min(good, key=lambda option: (option.bytes_per_vector, -option.value), default=self.full)

    @property
    def chosen_on(self) -> str:
        """Whose value chose the advised option."""
        return f"chosen on {'the dev' if self.chosen else 'these'} queries"

    @property
    def basis(self) -> str:
        """What the advice rests on."""
        return f"measured on {self.queries:,} queries over {self.documents:,} documents, {self.chosen_on}"

    def advice(self, keep: float = 0.98) -> str:
        """`saving`, and who chose: "256 x int8: 98.1% of the full ... at 1/12 of the bytes (chosen on ... queries)"."""
        return f"{self.saving(keep)} ({self.chosen_on})"

    def saving(self, keep: float = 0.98) -> str:
        """What `advised` is worth on these queries: "256 x int8: 98.1% of the full nDCG@10 at 1/12 of the bytes"."""
        best, full = self.advised(keep), self.full
        if best == full:
            whose = "dev " if self.chosen else ""
            return f"{full.name}: nothing smaller keeps {keep:.0%} of the full {whose}{self.metric_name}"
        times, rest = divmod(full.bytes_per_vector, best.bytes_per_vector)
        share = f"{best.bytes_per_vector / full.bytes_per_vector:.0%}" if rest else f"1/{times}"
        return f"{best.name}: {best.retention:.1%} of the full {self.metric_name} at {share} of the bytes"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self) | {"options": [asdict(option) for option in self.options]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Deployment:
        """The deployment of which as_dict gave this."""
        options = tuple(DeploymentOption(**option) for option in plain["options"])
        chosen = plain.get("chosen")
        return cls(**{**plain, "options": options, "chosen": tuple(chosen) if chosen else None})


@torch.inference_mode()
def measure_deployment(
    queries_QD: Tensor,
    documents_ND: Tensor,
    relevant: Sequence[Sequence[int]],
    calibration_MD: Tensor,
    dims: Sequence[int],
    metric: str = "ndcg@10",
) -> Deployment:
    """The metric of every dim and precision, plain and rescored, as the mean over queries: 1,000 at most, by chance.

    relevant: for each query the rows of the documents that answer it, at least one. calibration_MD: embeddings of
    TRAINING passages, from which int8 takes its ranges; ranges of the documents that are measured would know too much.
    metric: as in `ndcg@10`.

    A dim is the first so many numbers of each embedding, normalised, in fp32. float16 and int8: the dot product of the
    query in float32 and the document decoded, as in faiss's scalar quantizer. binary: the Hamming distance of the bits
    of both. Rescored: the first 4 k hits, in the order of the vectors of the widest dim in float32. Values are
    expectations over all orders of equally similar documents; where many tie for the last places to be rescored, over
    32 choices of them. Every document is compared. Draws a bar on a terminal where that takes long.
    Raises KeyError for an unknown metric, ValueError for a query without an answer or dims beyond the embeddings.
    """
    if max(dims) > documents_ND.shape[1]:
        raise ValueError(f"dim {max(dims)} of embeddings that have {documents_ND.shape[1]} numbers")
    if not all(map(len, relevant)):
        raise ValueError("every query needs a relevant document")
    name, _, rank = metric.partition("@")
    k, depth = int(rank), min(RESCORED * int(rank), len(documents_ND))
    measured = drawn_queries(len(queries_QD))
    queries_QD = queries_QD[measured]
    # In random order: which documents come in where many tie for the last places must not hang on who numbered them.
    order_N = torch.randperm(len(documents_ND), generator=torch.Generator().manual_seed(0))
    vectors = StoredVectors.of(documents_ND[order_N.to(documents_ND.device)], calibration_MD, dims)
    judge = Judge.of([relevant[query] for query in measured], order_N.argsort(), EXPECTED[name], k)
    ways = [(dim, precision) for dim in sorted(set(dims), reverse=True) for precision in PRECISIONS]
    values: dict[tuple[int, VectorPrecision, bool], float] = {}
    for way in _shown(ways, len(measured) * len(documents_ND)):
        hits = vectors.search(queries_QD, *way, depth)
        values[*way, False] = float(judge.plain(hits).mean())
        if way != ways[0]:  # the full one is the same rescored
            values[*way, True] = float(judge.rescored(hits, queries_QD, vectors).mean())
    best = values[*ways[0], False]
    options = [
        DeploymentOption(*way, bytes_per_vector(*way[:2]), value, value / best if best else 0.0)
        for way, value in values.items()
    ]
    return Deployment(metric, tuple(options), len(calibration_MD), len(measured), len(documents_ND), depth)


def drawn_queries(queries: int) -> list[int]:
    """The numbers of those to measure: all, or QUERIES of them."""
    return drawn(queries, QUERIES)


def drawn(total: int, most: int) -> list[int]:
    """Numbers below the total, ascending: all, or so many drawn at random, always the same."""
    return sorted(torch.randperm(total, generator=torch.Generator().manual_seed(0))[:most].tolist())


def _shown(ways: list[Way], pairs: int) -> Iterator[Way]:
    """The ways, with a bar on a terminal that counts them."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = pairs < LONG or not console.is_terminal
    yield from track(ways, "what to deploy", console=console, transient=True, disable=hidden)
