"""Queries and documents with prepared embeddings, through both sides' whole evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim
from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder
from matryoshka.evaluation import evaluator
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.nearest import search
from tests.parity.conftest import Parity, release

THEIRS = release("sentence-transformers")
ALLOWED = 1e-9
RANKS = (1, 2, 3, 5, 7, 10, 50, 100)
DEPTH = max(RANKS)


@dataclass(frozen=True)
class Case:
    """Texts by id, which documents answer which query, and an embedding for every text."""

    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevant: Mapping[str, set[str]]
    embeddings: Mapping[str, Tensor]

    @property
    def data(self) -> RetrievalSet:
        """As our side takes it."""
        relevant = {query: frozenset(documents) for query, documents in self.relevant.items()}
        return RetrievalSet("prepared", self.queries, self.corpus, relevant)

    @property
    def precision(self) -> str:
        """In what the embeddings are, for the item's name."""
        return {torch.float32: "fp32", torch.float64: "fp64"}[next(iter(self.embeddings.values())).dtype]

    def matrix(self, texts: Sequence[str]) -> Tensor:
        """The texts' embeddings, one a row."""
        return torch.stack([self.embeddings[text] for text in texts])


def case(queries_QD: Tensor, documents_ND: Tensor, relevant_QN: Tensor, seed: int = 0) -> Case:
    """Ids for the rows. Documents' ids sort neither by row nor by number, and not all of them are ASCII."""
    numbers = torch.randperm(3 * len(documents_ND), generator=torch.Generator().manual_seed(seed)).tolist()
    documents = [f"{('d', 'D', 'ä')[row % 3]}{numbers[row]}" for row in range(len(documents_ND))]
    queries = [f"q{row}" for row in range(len(queries_QD))]
    return Case(
        queries={query: f"text of {query}" for query in queries},
        corpus={document: f"text of {document}" for document in documents},
        relevant={
            query: {documents[row] for row in relevant_N.nonzero().flatten().tolist()}
            for query, relevant_N in zip(queries, relevant_QN, strict=True)
        },
        embeddings={
            f"text of {key}": row
            for keys, rows in ((queries, queries_QD), (documents, documents_ND))
            for key, row in zip(keys, rows, strict=True)
        },
    )


def evaluator_of_all() -> Evaluator:
    """Every metric at every rank."""
    names = ("accuracy_at", "precision_at", "recall_at", "ndcg_at", "mrr_at", "map_at")
    return Evaluator(**dict.fromkeys(names, RANKS))  # type: ignore[arg-type]


def our_metrics(case: Case, dims: Sequence[int]) -> Mapping[int, Mapping[str, float]]:
    """Our evaluation, whole but for encoding: the embeddings are looked up, in the case's own precision."""
    table = list(case.embeddings)
    row_of = {text: row for row, text in enumerate(table)}
    encoder = SimpleNamespace(
        device=torch.device("cpu"),
        name="prepared",
        width=len(case.embeddings[table[0]]),
        token_ids=lambda texts, prompt: TokenIds.of([[row_of[text]] for text in texts]),
    )

    def looked_up(_: Encoder, parts: Sequence[TokenIds], **options: Any) -> tuple[list[Tensor], float]:
        return [case.matrix([table[row] for (row,) in ids]) for ids in parts], 0.0

    with patch.object(evaluator, "embed", looked_up):
        return evaluator_of_all().evaluate(cast(Encoder, encoder), case.data, dims).metrics


def our_order(case: Case, dims: Sequence[int]) -> dict[int, list[list[str]]]:
    """The ids of each query's hits at each dim, as our evaluation searches them."""
    data, documents = case.data, sorted(case.corpus)
    queries_QD = case.matrix(list(data.queries.values()))
    hits = search(queries_QD, case.matrix([case.corpus[document] for document in documents]), dims, DEPTH)
    return {dim: [[documents[row] for row in rows] for rows in hits[dim].documents_Qk.tolist()] for dim in dims}


class LookedUp:
    """What sentence-transformers' evaluator asks of a model; cosines are computed by its own function."""

    similarity_fn_name = "cosine"
    similarity = staticmethod(cos_sim)
    model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *arguments: None)

    def __init__(self, case: Case) -> None:
        self.case = case

    def encode(self, texts: Sequence[str], *, truncate_dim: int, **options: Any) -> Tensor:
        """The first numbers of the texts' embeddings."""
        return self.case.matrix(texts)[:, :truncate_dim]

    encode_query = encode_document = encode


def their_evaluator(
    queries: Mapping[str, str], corpus: Mapping[str, str], relevant: Mapping[str, set[str]], **options: Any
) -> InformationRetrievalEvaluator:
    """Their evaluator with every metric at every rank."""
    names = ("accuracy", "precision_recall", "ndcg", "mrr", "map")
    ranks: dict[str, Any] = {f"{name}_at_k": list(RANKS) for name in names}
    return InformationRetrievalEvaluator(
        dict(queries), dict(corpus), dict(relevant), **ranks, write_csv=False, write_predictions=True, **options
    )


def their_metrics_and_order(
    case: Case, dim: int, folder: Path, chunk: int = 50_000
) -> tuple[dict[str, float], list[list[str]]]:
    """Their evaluation, whole but for the model; the order of hits from the file of predictions that it writes."""
    evaluator = their_evaluator(case.queries, case.corpus, case.relevant, truncate_dim=dim, corpus_chunk_size=chunk)
    metrics = evaluator(cast(SentenceTransformer, LookedUp(case)), output_path=str(folder))
    lines = (folder / "Information-Retrieval_evaluation_predictions_cosine.jsonl").read_text(encoding="utf-8")
    predictions = [json.loads(line) for line in lines.splitlines()]
    return by_our_names(metrics), [[hit["corpus_id"] for hit in query["results"]] for query in predictions]


def by_our_names(metrics: Mapping[str, float]) -> dict[str, float]:
    """`ndcg@10` for `cosine_ndcg@10`."""
    return {name.removeprefix("cosine_"): float(value) for name, value in metrics.items()}


def compare(parity: Parity, case: Case, situation: str, folder: Path, dims: Sequence[int], chunk: int = 50_000) -> None:
    """All metrics and the order of all hits at every dim. chunk: how many documents theirs takes at once."""
    metrics, order = our_metrics(case, dims), our_order(case, dims)
    for dim in dims:
        their_metrics, their_order = their_metrics_and_order(case, dim, folder, chunk)
        assert metrics[dim].keys() == their_metrics.keys()
        theirs = [their_metrics[name] for name in metrics[dim]]
        item = f"all metrics, k = 1 to 100, {case.precision}: {situation}"
        parity.within(item, THEIRS, list(metrics[dim].values()), theirs, ALLOWED)
        hits, their_hits = list(chain.from_iterable(order[dim])), list(chain.from_iterable(their_order))
        parity.equal(f"order of hits, {case.precision}: {situation}", THEIRS, hits, their_hits)
