"""The metric of every way to store vectors, by searching over them as they would be stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from matryoshka.encoder.progress import progress_bar
from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.evaluation.deployment.quantisation import PRECISIONS, VectorPrecision, bytes_per_vector
from matryoshka.evaluation.deployment.stored_vectors import Judge, StoredVectors
from matryoshka.evaluation.ties import EXPECTED

RESCORED = 4  # times the metric's k: hits of the coarse search that are put in the order of the full vectors
QUERIES = 1000  # measured at most: the standard error of a mean over them is 0.016 at most
LONG = 10**7  # pairs of a query and a document that take seconds


@torch.inference_mode()
def measure_deployment(
    queries_QD: Tensor,
    documents_ND: Tensor,
    relevant: Sequence[Collection[int]],
    calibration_MD: Tensor,
    dims: Sequence[int],
    metric: str = "ndcg@10",
) -> Deployment:
    """The metric of every dim and precision, plain and rescored, as the mean over queries: 1,000 at most, by chance.

    relevant: for each query the rows of the documents that answer it, at least one, or each row -> its grade above 0.
    calibration_MD: embeddings of TRAINING passages, from which int8 takes its ranges; ranges of the documents that are
    measured would know too much. metric: as in `ndcg@10`.

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
    measured = drawn(len(queries_QD), QUERIES)
    queries_QD = queries_QD[measured]
    # In random order: which documents come in where many tie for the last places must not hang on who numbered them.
    order_N = torch.randperm(len(documents_ND), generator=torch.Generator().manual_seed(0))
    vectors = StoredVectors.of(documents_ND[order_N.to(documents_ND.device)], calibration_MD, dims)
    judge = Judge.of([relevant[query] for query in measured], order_N.argsort(), EXPECTED[name], k)
    ways = [(dim, precision) for dim in sorted(set(dims), reverse=True) for precision in PRECISIONS]
    values: dict[tuple[int, VectorPrecision, bool], float] = {}
    pairs = len(measured) * len(documents_ND)
    with progress_bar("what to deploy", len(ways) * pairs, "pairs", show=pairs >= LONG) as advance:
        for way in ways:
            hits = vectors.search(queries_QD, *way, depth)
            values[*way, False] = float(judge.plain(hits).mean())
            if way != ways[0]:  # the full one is the same rescored
                values[*way, True] = float(judge.rescored(hits, queries_QD, vectors).mean())
            advance(pairs)
    best = values[*ways[0], False]
    options = [
        DeploymentOption(*way, bytes_per_vector(*way[:2]), value, value / best if best else 0.0)
        for way, value in values.items()
    ]
    return Deployment(metric, tuple(options), len(calibration_MD), len(measured), len(documents_ND), depth)


def drawn(total: int, most: int) -> list[int]:
    """Numbers below the total, ascending: all, or so many drawn at random, always the same."""
    return sorted(torch.randperm(total, generator=torch.Generator().manual_seed(0))[:most].tolist())
