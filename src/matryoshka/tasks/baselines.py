"""What a fine-tuned encoder has to beat, on the same queries: itself untrained, BM25, and other models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from matryoshka.config.recipe import Recipe
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.evaluation.bm25 import BM25
from matryoshka.evaluation.bm25_cache import CachedSearch
from matryoshka.evaluation.embeddings import OnDisk, Store
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.measurement import asked_for, measure
from matryoshka.evaluation.nearest import Hits
from matryoshka.evaluation.protocols import CopyGroups
from matryoshka.evaluation.result import NO_DIM, EvaluationResult
from matryoshka.evaluation.several_sets import SeveralSets, mean_result
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.processes.together import first_then_others, from_first
from matryoshka.report.record import DEV, PROJECTED
from matryoshka.report.terminal.result_table import show_protocols, show_result
from matryoshka.tasks.loading import TrainingData, tokenized_set
from matryoshka.tasks.measuring import Measuring

WITHOUT_A_MODEL = "bm25"


@dataclass(frozen=True)
class Before:
    """What was measured before training: the untrained encoder on all queries, the rest on the test queries.

    projected: the projection alone, where there is one; it is among the baselines too.
    """

    base: EvaluationResult
    dev_base: EvaluationResult | None
    projected: EvaluationResult | None
    baselines: tuple[EvaluationResult, ...]
    sets: Mapping[str, EvaluationResult]

    @property
    def logged(self) -> dict[str, float]:
        """The log's first row."""
        dev = self.dev_base.flat(DEV) if self.dev_base else {}
        sets = {name: value for set_, of in self.sets.items() for name, value in of.flat(f"{set_}/").items()}
        projected = self.projected.flat(PROJECTED) if self.projected else {}
        return {**self.base.flat(), **dev, **projected, **sets, "epoch": 0.0}


def measure_before(
    recipe: Recipe, data: TrainingData, measuring: Measuring, project: Callable[[], EvaluationResult | None]
) -> Before:
    """Measure them all and show the test queries' table. project: puts the projection there and measures it."""
    base = measuring.measure(data.test, OnDisk())  # other runs begin with these weights too
    dev_base = measuring.measure(data.dev, OnDisk()) if data.dev else None
    sets = measure_sets(data.sets, measuring, OnDisk())
    projected = project()
    baselines = measure_baselines(recipe, data.test, measuring)
    baselines = (projected, *baselines) if projected else baselines
    show_result(base, None, title="base (untrained), on the test queries", baselines=baselines)
    show_protocols(base)
    return Before(base, dev_base, projected, baselines, sets)


def measure_sets(
    sets: Mapping[str, TokenizedSet], measuring: Measuring, store: Store | None = None
) -> dict[str, EvaluationResult]:
    """The encoder as it is now, on each of the further sets."""
    return {name: measuring.measure(texts, store) for name, texts in sets.items()}


def measure_baselines(recipe: Recipe, texts: TokenizedSet, measuring: Measuring) -> tuple[EvaluationResult, ...]:
    """One result for each of the recipe's baselines; a model is measured at those of the dims that it has.

    Of several sets, the mean over them.
    """
    return tuple(_on(texts, measured_by(name, recipe.bm25, measuring)) for name in recipe.baselines)


def _on(texts: TokenizedSet, measure: Callable[[Judgements], EvaluationResult]) -> EvaluationResult:
    if isinstance(texts, SeveralSets):
        return mean_result(*texts.named, {name: measure(part.judgements) for name, part in texts.parts.items()})
    return measure(texts.judgements)


def measured_by(name: str, bm25: BM25, measuring: Measuring) -> Callable[[Judgements], EvaluationResult]:
    """What measures a baseline on a set; a model is loaded once, here."""
    if name == WITHOUT_A_MODEL:
        return lambda judgements: from_first(
            partial(measure_bm25, bm25, judgements, measuring.evaluator), lambda result: replace(result, rankings=None)
        )
    encoder = first_then_others(partial(Pretrained.named(name).load, None)).to(measuring.device)
    its_own = measuring.of_encoder(encoder)
    return lambda judgements: its_own.measure(tokenized_set(encoder, judgements.data), OnDisk())


def measure_bm25(bm25: BM25, judgements: Judgements, evaluator: Evaluator) -> EvaluationResult:
    """BM25's ranking of each distinct text, under NO_DIM."""
    data = judgements.data
    texts = [data.corpus[document] for document in judgements.document_ids]
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    copies = CopyGroups(judgements, torch.tensor([row_of[text] for text in texts]))
    queries = [data.queries[query] for query in judgements.query_ids]
    index = CachedSearch(bm25, list(row_of))

    def again(rows_M: torch.Tensor, dim: int, k: int) -> Hits:
        return index.search([queries[row] for row in rows_M], k)

    hits = index.search(queries, asked_for(copies, evaluator.metrics))
    return measure("BM25", copies, {NO_DIM: hits}, again, evaluator.metrics)
