"""An evaluation equals a slow one that encodes text by text, dim by dim, and ranks by sorting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.encoder import Encoder
from matryoshka.encoder import encoder as encoders
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.measurement import depth
from matryoshka.evaluation.metrics import MAP, MRR, NDCG, Accuracy, Precision, Recall, total
from tests.evaluation.small import small_set
from tests.evaluation.test_metrics import DEFINITIONS
from tests.tiny import tiny_encoder

DIMS = [32, 16, 8]
PROMPTS = {"query": "query: ", "document": "passage: "}
CLASSES = {
    "accuracy": Accuracy,
    "precision": Precision,
    "recall": Recall,
    "ndcg": NDCG,
    "mrr": MRR,
    "map": MAP,
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return tiny_encoder(modes=("mean",), prompts=PROMPTS)


def rankings_by_loop(encoder: Encoder, data: RetrievalSet, dim: int) -> dict[str, list[str]]:
    """The documents of each query, every text encoded alone at this dim; equal ones by their ids."""

    def vector(text: str, prompt: Any) -> Any:
        return np.asarray(encoder.encode([text], dim=dim, prompt=prompt)[0], dtype=np.float64)

    vectors = {document: vector(text, "document") for document, text in data.corpus.items()}
    rankings = {}
    for query, text in data.queries.items():
        asked = vector(text, "query")
        similarities = {document: float(asked @ vectors[document]) for document in vectors}
        rankings[query] = sorted(vectors, key=lambda document, of=similarities: (-of[document], document))
    return rankings


def metrics_by_loop(encoder: Encoder, data: RetrievalSet, dim: int, names: Sequence[str]) -> dict[str, float]:
    rankings = rankings_by_loop(encoder, data, dim)
    values = {}
    for name in names:
        kind, k = name.split("@")
        of_query = []
        for query, documents in rankings.items():
            hits = [document in data.relevant[query] for document in documents]
            of_query.append(DEFINITIONS[CLASSES[kind]](hits, [1] * len(data.relevant[query]), int(k)))
        values[name] = sum(of_query) / len(of_query)
    return values


def test_an_evaluation_equals_encoding_and_ranking_text_by_text(encoder: Encoder) -> None:
    data, evaluator = small_set(), Evaluator(map_at=(2, 100), token_budget=70)

    result = evaluator.evaluate(encoder, data, DIMS)
    assert list(result.metrics) == DIMS
    for dim in DIMS:
        expected = metrics_by_loop(encoder, data, dim, list(evaluator.metrics))
        assert dict(result.metrics[dim]) == pytest.approx(expected, abs=1e-9)
        assert 0 < result.metrics[dim]["ndcg@10"] < 1  # neither nothing nor everything is found


def test_the_result_says_what_was_measured(encoder: Encoder) -> None:
    result = Evaluator().evaluate(encoder, small_set(), DIMS)

    assert (result.model, result.data, result.width) == ("tiny", "letters", 32)
    assert (result.queries, result.documents) == (10, 26)
    assert result.precision == "fp32"
    assert result.seconds > 0


def test_precision_is_used_and_recorded(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    pooled = encoder.pooled

    def watched(batch: PackedBatch) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return pooled(batch)

    monkeypatch.setattr(encoder, "pooled", watched)
    for precision in get_args(encoders.Precision):
        seen.clear()
        assert Evaluator().evaluate(encoder, small_set(), [32], precision=precision).precision == precision
        assert set(seen) == {precision == "bf16"}


def test_a_distinct_text_is_encoded_once_for_all_dims(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_set()
    computed: list[int] = []
    pooled = encoder.pooled

    def watched(batch: PackedBatch) -> Tensor:
        computed.append(len(batch.input_ids_T))
        return pooled(batch)

    monkeypatch.setattr(encoder, "pooled", watched)
    result = Evaluator().evaluate(encoder, data, DIMS)

    distinct = [PROMPTS["query"] + text for text in set(data.queries.values())]
    distinct += [PROMPTS["document"] + text for text in set(data.corpus.values())]
    assert len(distinct) == 31  # ten queries and, without the five copies, 21 documents
    assert sum(computed) == result.tokens == sum(len(ids) for ids in encoder.tokenize(distinct))


def test_a_query_that_is_a_document_too_gets_each_ones_prompt(encoder: Encoder) -> None:
    """q2 and z have one text: as query and as document it has two embeddings."""
    data = small_set()
    assert data.queries["q2"] == data.corpus["z"]

    assert metrics_by_loop(encoder, data, 32, ["mrr@10"]) == pytest.approx(
        {"mrr@10": Evaluator().evaluate(encoder, data, [32]).metrics[32]["mrr@10"]}
    )
    swapped = tiny_encoder(modes=("mean",), prompts={"query": "passage: ", "document": "query: "})
    assert Evaluator().evaluate(swapped, data, DIMS).metrics != Evaluator().evaluate(encoder, data, DIMS).metrics


@pytest.mark.parametrize("answer", ["b", "c", "a"])
def test_copies_rank_by_their_ids(encoder: Encoder, answer: str) -> None:
    corpus = {"c": "der notar", "a": "der notar", "b": "der notar", "0": "x y z " * 5}
    data = RetrievalSet("copies", {"q": "der notar"}, corpus, {"q": frozenset({answer})})
    assert rankings_by_loop(encoder, data, 32)["q"][:3] == ["a", "b", "c"]

    result = Evaluator(mrr_at=(4,)).evaluate(encoder, data, DIMS)
    for dim in DIMS:
        assert result.metrics[dim]["mrr@4"] == pytest.approx(1 / (1 + "abc".index(answer)))


def test_the_order_in_which_documents_are_given_does_not_matter(encoder: Encoder) -> None:
    data = small_set()
    turned = RetrievalSet("letters", data.queries, dict(reversed(data.corpus.items())), data.relevant)

    assert Evaluator().evaluate(encoder, turned, DIMS) == Evaluator().evaluate(encoder, data, DIMS)


@pytest.mark.parametrize("budget", [1, 50, 100_000])
def test_the_token_budget_changes_no_metric(encoder: Encoder, budget: int) -> None:
    assert Evaluator(token_budget=budget).evaluate(encoder, small_set(), DIMS) == Evaluator().evaluate(
        encoder, small_set(), DIMS
    )


def test_metrics_are_those_asked_for_in_the_order_of_the_table(encoder: Encoder) -> None:
    evaluator = Evaluator(
        accuracy_at=(1, 3, 10), precision_at=(), recall_at=(5,), ndcg_at=(10, 3), mrr_at=(), map_at=(100,)
    )

    names = ["accuracy@1", "accuracy@3", "accuracy@10", "recall@5", "ndcg@10", "ndcg@3", "map@100"]
    assert list(evaluator.metrics) == names
    assert list(evaluator.evaluate(encoder, small_set(), [8]).metrics[8]) == names
    assert depth(evaluator.metrics) == 100


def test_the_cards_metrics_are_the_default() -> None:
    assert list(Evaluator().metrics) == [
        *[f"{name}@{k}" for name in ("accuracy", "precision", "recall") for k in (1, 3, 5, 10)],
        "ndcg@10",
        "mrr@10",
        "map@100",
    ]


def test_an_evaluator_measures_again_what_it_measured_before(encoder: Encoder) -> None:
    evaluator = Evaluator()

    first = evaluator.evaluate(encoder, small_set(), DIMS)
    assert evaluator.evaluate(encoder, small_set(), DIMS) == first


@pytest.mark.parametrize(
    ("select", "name"),
    [
        ("ndcg@10", "ndcg@10/dim_32"),
        ("map@100/dim_16", "map@100/dim_16"),
        ("merged/ndcg@10", "merged/ndcg@10/dim_32"),
        ("ndcg@10/worst", "ndcg@10/worst"),
        ("merged/map@100/retention", "merged/map@100/retention"),
    ],
)
def test_the_selecting_metric_is_named_in_full(encoder: Encoder, select: str, name: str) -> None:
    evaluator = Evaluator(select=select)

    assert evaluator.selected([16, 32, 8]) == name
    assert 0 < evaluator.evaluate(encoder, small_set(), DIMS).value(name) < 1


def test_judgements_equal_a_loop() -> None:
    data = small_set()
    query_ids, document_ids = list(data.queries), sorted(data.corpus)
    generator = torch.Generator().manual_seed(0)
    documents_Qk = torch.stack([torch.randperm(26, generator=generator)[:7] for _ in query_ids])

    judgements = Judgements(data, query_ids, document_ids)
    grade_Qk = judgements.grades(documents_Qk, torch.arange(len(query_ids)), merged=False)
    assert grade_Qk.tolist() == [
        [document_ids[row] in data.relevant[query] for row in rows]
        for query, rows in zip(query_ids, documents_Qk.tolist(), strict=True)
    ]
    assert total(judgements.all_grades(merged=False)).tolist() == [len(data.relevant[query]) for query in query_ids]


def test_evaluation_leaves_a_training_encoder_training() -> None:
    encoder = tiny_encoder(dropout=0.5).train()
    evaluations: list[Mapping[int, Mapping[str, float]]] = [
        Evaluator().evaluate(encoder, small_set(), DIMS).metrics for _ in range(2)
    ]

    assert encoder.training
    assert evaluations[0] == evaluations[1]
