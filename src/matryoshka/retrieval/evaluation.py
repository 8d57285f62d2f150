"""Evaluation: each distinct text encoded once, a dim is a slice, all metrics from the same ranked hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.encoder.progress import token_progress
from matryoshka.retrieval.embeddings import Store, embed
from matryoshka.retrieval.metrics import MAP, MRR, NDCG, Accuracy, RankedMetric, Recall
from matryoshka.retrieval.metrics import Precision as PrecisionAt
from matryoshka.retrieval.result import EvaluationResult
from matryoshka.retrieval.search import Hits, search
from matryoshka.retrieval.tokenized_set import TokenizedSet


class Evaluator:
    """Which metrics at which ranks, and which of them selects the best checkpoint.

    select: `metric@k/dim_d` as it is logged, or `metric@k` for the widest dim. token_budget: tokens encoded at once.
    """

    def __init__(
        self,
        accuracy_at: Sequence[int] = (1, 3, 5, 10),
        precision_at: Sequence[int] = (1, 3, 5, 10),
        recall_at: Sequence[int] = (1, 3, 5, 10),
        ndcg_at: Sequence[int] = (10,),
        mrr_at: Sequence[int] = (10,),
        map_at: Sequence[int] = (100,),
        select: str = "ndcg@10",
        token_budget: int = 4096,
    ) -> None:
        wanted: list[tuple[str, Callable[[int], RankedMetric], Sequence[int]]] = [
            ("accuracy", Accuracy, accuracy_at),
            ("precision", PrecisionAt, precision_at),
            ("recall", Recall, recall_at),
            ("ndcg", NDCG, ndcg_at),
            ("mrr", MRR, mrr_at),
            ("map", MAP, map_at),
        ]
        self.metrics = {f"{name}@{k}": make(k) for name, make, ranks in wanted for k in ranks}
        self.select = select
        self.token_budget = token_budget

    @property
    def depth(self) -> int:
        """How many hits a query the metrics look at."""
        return max(metric.k for metric in self.metrics.values())

    def selected(self, dims: Sequence[int]) -> str:
        """The full name of the selecting metric, `ndcg@10/dim_768`."""
        return self.select if "/" in self.select else f"{self.select}/dim_{max(dims)}"

    def evaluate(
        self,
        encoder: Encoder,
        data: RetrievalSet | TokenizedSet,
        dims: Sequence[int],
        *,
        precision: Precision = "fp32",
        progress: bool = False,
        store: Store | None = None,
    ) -> EvaluationResult:
        """Encode, search, measure. Documents of equal similarity rank by id, ascending.

        data: tokenized where it is measured more than once. store: where embeddings of equal weights are found again.
        """
        texts = data if isinstance(data, TokenizedSet) else TokenizedSet.of(data, encoder.tokenize)
        data = texts.data
        with token_progress(f"evaluating {len(data.queries):,} queries", texts.tokens, progress) as advance:
            (documents_ND, queries_ND), seconds = embed(
                encoder,
                [texts.documents, texts.queries],
                token_budget=self.token_budget,
                precision=precision,
                advance=advance,
                store=store,
            )
        start = time.perf_counter()
        hits = search(queries_ND[texts.queries_Q], documents_ND[texts.documents_N], dims, self.depth)
        metrics = {dim: self.measure(hits[dim], texts.query_ids, texts.document_ids, data) for dim in dims}
        return EvaluationResult(
            model=encoder.name,
            data=data.name,
            queries=len(data.queries),
            documents=len(data.corpus),
            width=encoder.width,
            metrics=metrics,
            precision=precision,
            tokens=texts.tokens,
            seconds=seconds + time.perf_counter() - start,
        )

    def measure(
        self, hits: Hits, query_ids: Sequence[str], document_ids: Sequence[str], data: RetrievalSet
    ) -> dict[str, float]:
        """Every metric of the ranked hits of one dim."""
        relevant_Qk, total_Q = judge(hits, query_ids, document_ids, data)
        collection = MetricCollection(dict(self.metrics), compute_groups=False)
        collection.reset()
        collection.update(relevant_Qk, total_Q)
        values = collection.compute()
        return {name: float(values[name]) for name in self.metrics}


def judge(
    hits: Hits, query_ids: Sequence[str], document_ids: Sequence[str], data: RetrievalSet
) -> tuple[Tensor, Tensor]:
    """Which hits are relevant, (Q, k) of bool, and how many relevant documents each query has, (Q,)."""
    row_of = {document: row for row, document in enumerate(document_ids)}
    relevant_Qk = torch.zeros_like(hits.documents_Qk, dtype=torch.bool)
    for row, query in enumerate(query_ids):
        wanted = torch.tensor([row_of[document] for document in sorted(data.relevant[query])])
        relevant_Qk[row] = torch.isin(hits.documents_Qk[row], wanted)
    return relevant_Qk, torch.tensor([len(data.relevant[query]) for query in query_ids])
