"""Evaluation: each distinct text encoded once, a dim is a slice, all metrics from the same ranked hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from copy import copy
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.encoder.progress import progress_bar
from matryoshka.evaluation.embeddings import Store, embed
from matryoshka.evaluation.equal_embeddings import require_different
from matryoshka.evaluation.mapped_rows import MappedRows
from matryoshka.evaluation.measurement import asked_for, measure
from matryoshka.evaluation.metrics import MAP, MRR, NDCG, Accuracy, RankedMetric, Recall
from matryoshka.evaluation.metrics import Precision as PrecisionAt
from matryoshka.evaluation.nearest import Documents, Hits, search
from matryoshka.evaluation.protocols import CopyGroups
from matryoshka.evaluation.result import EvaluationResult, selecting_metric
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.memory.budget import auto_budget
from matryoshka.processes.together import from_first, is_first, processes

Rank = Annotated[int, Ge(1), Le(1_000_000), "10"]
CHUNKS = {"query_chunk": 1024, "document_chunk": 8192}  # on a GPU: fewer and larger kernels, some 300 MB


class Evaluator:
    """Which metrics at which ranks, and which of them selects the best checkpoint.

    select: `metric@k/dim_d` as it is logged, `metric@k` for the widest dim, or over all dims `metric@k/mean`,
    `/worst` or `/retention` (see EvaluationResult.value); `merged/` in front counts copies as one.
    token_budget: tokens encoded at once; auto: as the device allows (see auto_budget).
    on_disk: whether the documents' embeddings go to a file instead of memory, with the same result; auto: where a task
    finds that they would take more than a third of the free memory. Texts and token ids are in memory either way.
    """

    def __init__(
        self,
        accuracy_at: Sequence[Rank] = (1, 3, 5, 10),
        precision_at: Sequence[Rank] = (1, 3, 5, 10),
        recall_at: Sequence[Rank] = (1, 3, 5, 10),
        ndcg_at: Sequence[Rank] = (10,),
        mrr_at: Sequence[Rank] = (10,),
        map_at: Sequence[Rank] = (100,),
        select: str = "ndcg@10",
        token_budget: Annotated[int, Ge(1), Le(10**9), "4096 or auto"] | Literal["auto"] = "auto",
        on_disk: bool | Literal["auto"] = "auto",
    ) -> None:
        wanted: list[tuple[str, Callable[..., RankedMetric], Sequence[int]]] = [
            ("accuracy", Accuracy, accuracy_at),
            ("precision", PrecisionAt, precision_at),
            ("recall", Recall, recall_at),
            ("ndcg", NDCG, ndcg_at),
            ("mrr", MRR, mrr_at),
            ("map", MAP, map_at),
        ]
        # Of several processes one measures all queries: torchmetrics would wait for the others'.
        alone = {"sync_on_compute": False}
        self.metrics = {f"{name}@{k}": make(k, **alone) for name, make, ranks in wanted for k in ranks}
        self.select = select
        self.token_budget = token_budget
        self.on_disk = on_disk

    def budget(self, encoder: Encoder, device: torch.device, *, trains: bool = False) -> int:
        """Tokens encoded at once, by this encoder on this device; trains: see auto_budget."""
        decided = self.token_budget
        return auto_budget(encoder, device, trains=trains) if decided == "auto" else decided

    def with_budget(self, tokens: int) -> Evaluator:
        """The same, but for so many tokens encoded at once."""
        other = copy(self)
        other.token_budget = tokens
        return other

    @property
    def metric(self) -> str:
        """The name of the selecting metric alone, `ndcg@10`."""
        return self.select.removeprefix("merged/").partition("/")[0]

    def selected(self, dims: Sequence[int]) -> str:
        """The full name of the selecting metric, `ndcg@10/dim_768`."""
        return selecting_metric(self.select, dims)

    def evaluate(
        self,
        encoder: Encoder,
        data: RetrievalSet | TokenizedSet,
        dims: Sequence[int],
        *,
        precision: Precision = "fp32",
        progress: bool = False,
        store: Store | None = None,
        on_disk: bool | None = None,
        may_be_equal: bool = False,
    ) -> EvaluationResult:
        """Encode, search, measure. Documents of equal similarity rank by id, ascending.

        data: tokenized where it is measured more than once. store: where embeddings of equal weights are found again;
        not used with on_disk, whose default is the evaluator's (one process only; auto is False). may_be_equal: measure
        even if all texts have one embedding, as weights in training may give; else that raises UserError.
        Several processes encode together; the first searches and measures, and the others get the result without its
        rankings.
        """
        texts = data if isinstance(data, TokenizedSet) else TokenizedSet.of(data, encoder.token_ids)
        on_disk = (self.on_disk is True if on_disk is None else on_disk) and processes() == 1
        with closing(MappedRows(len(texts.documents), encoder.width)) if on_disk else nullcontext() as rows_UD:
            documents_UD, queries_ND, seconds = self._embedded(
                encoder, texts, rows_UD, store, precision, progress, may_be_equal
            )

            def measured() -> EvaluationResult:
                start = time.perf_counter()
                vectors = SetVectors.of(texts, queries_ND, documents_UD)
                result = self.measure_vectors(encoder.name, vectors, dims, encoder.device)
                took = seconds + time.perf_counter() - start
                return replace(result, width=encoder.width, precision=precision, tokens=texts.tokens, seconds=took)

            return from_first(measured, lambda result: replace(result, rankings=None))

    def _embedded(
        self,
        encoder: Encoder,
        texts: TokenizedSet,
        rows_UD: MappedRows | None,
        store: Store | None,
        precision: Precision,
        progress: bool,
        may_be_equal: bool,
    ) -> tuple[Documents, Tensor, float]:
        """Embeddings of the documents, in rows_UD if it is given, and of the queries; and the seconds of encoding."""
        shown = progress and is_first()
        with progress_bar(f"evaluating {len(texts.data.queries):,} queries", texts.tokens, show=shown) as advance:
            budget = self.budget(encoder, encoder.device)
            options: Any = {"token_budget": budget, "precision": precision, "advance": advance}
            if rows_UD is None:
                both, seconds = embed(
                    encoder, [texts.documents, texts.queries], store=store, may_be_equal=may_be_equal, **options
                )
                return both[0], both[1], seconds
            start = time.perf_counter()
            encoder.encode_into(rows_UD, texts.documents, **options)
            if not may_be_equal:
                require_different(encoder, texts.documents, rows_UD, precision)
            (queries_ND,), _ = embed(encoder, [texts.queries], may_be_equal=may_be_equal, **options)
            return rows_UD, queries_ND, time.perf_counter() - start

    def measure_vectors(
        self, model: str, vectors: SetVectors, dims: Sequence[int], device: torch.device | None = None
    ) -> EvaluationResult:
        """Search and measure what is embedded already. model: what tables call it.

        device: of the encoder; a GPU searches, with the same hits. Any other leaves the search to the CPU.
        """
        copies = CopyGroups(vectors.judgements, vectors.documents_N)
        on_gpu = device is not None and device.type == "cuda"
        queries_QD, chunks = vectors.queries_QD.to(device) if on_gpu else vectors.queries_QD, CHUNKS if on_gpu else {}

        def again(rows_M: Tensor, dim: int, k: int) -> Hits:
            cut_MD = queries_QD[rows_M.to(queries_QD.device)]
            return search(cut_MD, vectors.documents_UD, [dim], k, **chunks)[dim].on_host()

        found = search(queries_QD, vectors.documents_UD, dims, asked_for(copies, self.metrics), **chunks)
        hits = {dim: of_dim.on_host() for dim, of_dim in found.items()}
        return measure(model, copies, hits, again, self.metrics)
