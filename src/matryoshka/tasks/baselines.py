"""What a fine-tuned encoder has to beat, measured on the same queries: BM25, and other models by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate

from matryoshka.distributed.together import first_then_others, from_first
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.retrieval.bm25 import BM25
from matryoshka.retrieval.embeddings import OnDisk
from matryoshka.retrieval.evaluation import Evaluator
from matryoshka.retrieval.judgements import Judgements
from matryoshka.retrieval.kept_search import KeptSearch
from matryoshka.retrieval.measurement import asked_for, measure
from matryoshka.retrieval.protocols import Copies
from matryoshka.retrieval.result import NO_DIM, EvaluationResult
from matryoshka.retrieval.search import Hits
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.setup import tokenized_set

WITHOUT_A_MODEL = "bm25"


def measure_baselines(
    config: Mapping[str, Any], judgements: Judgements, measuring: Measuring
) -> tuple[EvaluationResult, ...]:
    """One result for each of config["baselines"]; a model is measured at those of the dims that it has."""
    results = []
    for name in config["baselines"]:
        if name == WITHOUT_A_MODEL:
            bm25 = instantiate(config["bm25"], _convert_="all")
            by_words = partial(measure_bm25, bm25, judgements, measuring.evaluator)
            results.append(from_first(by_words, lambda result: replace(result, rankings=None)))
            continue
        encoder = first_then_others(partial(Pretrained(name).load, None)).to(measuring.device)
        dims = [dim for dim in measuring.dims if dim <= encoder.width] or [encoder.width]
        its_own = replace(measuring, encoder=encoder, dims=dims)
        results.append(its_own.measure(tokenized_set(encoder, judgements.data), OnDisk()))
    return tuple(results)


def measure_bm25(bm25: BM25, judgements: Judgements, evaluator: Evaluator) -> EvaluationResult:
    """BM25's ranking of each distinct text, under NO_DIM."""
    data = judgements.data
    texts = [data.corpus[document] for document in judgements.document_ids]
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    copies = Copies(judgements, torch.tensor([row_of[text] for text in texts]))
    queries = [data.queries[query] for query in judgements.query_ids]
    index = KeptSearch(bm25, list(row_of))

    def again(rows_M: torch.Tensor, dim: int, k: int) -> Hits:
        return index.search([queries[row] for row in rows_M], k)

    hits = index.search(queries, asked_for(copies, evaluator.metrics))
    return measure("BM25", copies, {NO_DIM: hits}, again, evaluator.metrics)
