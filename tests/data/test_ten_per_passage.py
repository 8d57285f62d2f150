"""Ten queries a passage, ten copies of it in the corpus, and what that does to a perfect retriever's figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from matryoshka.data.copies import normalised
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.split import DevOfTrain
from matryoshka.evaluation import metrics
from tests.data.ten_per_passage import TenPerPassage, runs_of_words

PAGE = Path(__file__).parents[2] / "docs/copies_in_the_corpus.md"


@pytest.fixture(scope="module")
def data() -> RetrievalSet:
    return TenPerPassage().retrieval_set()


def test_every_row_is_a_query_and_a_document_of_its_own(data: RetrievalSet) -> None:
    assert len(data.queries) == len(data.corpus) == 1200
    assert list(data.corpus) == [f"d-{row}" for row in range(1200)]
    assert all(data.relevant[f"q-{row}"] == {f"d-{row}"} for row in range(1200))
    assert list(TenPerPassage().problems()) == []
    assert TenPerPassage().dev_set() is None


def test_ten_rows_share_a_passage_and_none_a_query(data: RetrievalSet) -> None:
    assert Counter(Counter(data.corpus.values()).values()) == {10: 120}
    assert len({normalised(text) for text in data.queries.values()}) == 1200


def test_nine_of_ten_queries_are_words_of_their_passage(data: RetrievalSet) -> None:
    for row in range(1200):
        if row % 10:
            query = data.queries[f"q-{row}"]
            assert query in " ".join(data.corpus[f"d-{row}"].split())
            assert 5 <= len(query.split()) <= 9


def test_the_training_pairs_are_made_alike_of_other_passages(data: RetrievalSet) -> None:
    pairs = TenPerPassage().training_pairs()

    assert Counter(Counter(pairs["positive"]).values()) == {10: 200}
    assert not set(pairs["positive"]) & set(data.corpus.values())
    assert pairs[:] == TenPerPassage().training_pairs()[:]


def test_its_dev_queries_come_by_whole_passages() -> None:
    split = DevOfTrain().split(TenPerPassage())

    assert split.dev is not None
    assert (len(split.dev.queries), len(split.dev.corpus), len(split.pairs)) == (200, 20, 1800)


@pytest.mark.parametrize(
    ("passage", "runs"),
    [
        ("Zu kurz, das. Auch das ist.", []),
        ("Eins zwei drei vier fünf. Und was folgt ist kurz!", ["Eins zwei drei vier fünf.", "Und was folgt ist kurz!"]),
        ("1 2 3 4 5 6 7 8 9", ["1 2 3 4 5 6 7 8 9"]),
        ("1 2 3 4 5 6 7 8 9 10", ["1 2 3 4 5", "6 7 8 9 10"]),
        ("1 2 3 4 5 6 7 8 9 10 11", ["1 2 3 4 5", "6 7 8 9 10 11"]),
    ],
)
def test_sentences_are_cut_into_even_runs(passage: str, runs: list[str]) -> None:
    assert runs_of_words(passage) == runs


def perfect(data: RetrievalSet) -> Tensor:
    """relevant_Qk of a retriever that puts every copy of the right passage first and cannot tell them apart."""
    relevant_Qk = torch.zeros(len(data.queries), 100, dtype=torch.bool)
    for row, query in enumerate(data.queries):
        (right,) = data.relevant[query]
        copies = [document for document, text in data.corpus.items() if text == data.corpus[right]]
        relevant_Qk[row, copies.index(right)] = True
    return relevant_Qk


def test_the_page_tells_a_perfect_retrievers_figures(data: RetrievalSet) -> None:
    as_is_Qk, one_Q1 = perfect(data), torch.ones(len(data.queries), 1)
    measures = {
        "accuracy@1": (metrics.accuracy, 1),
        "accuracy@3": (metrics.accuracy, 3),
        "accuracy@5": (metrics.accuracy, 5),
        "accuracy@10": (metrics.accuracy, 10),
        "mrr@10": (metrics.mrr, 10),
        "ndcg@10": (metrics.ndcg, 10),
        "map@100": (metrics.average_precision, 100),
    }
    page = PAGE.read_text(encoding="utf-8")
    for name, (metric, k) in measures.items():
        value = f"{metric(as_is_Qk, one_Q1, k).mean():.4f}".removeprefix("0")
        assert f"| `{name}` | {value} | 1.0000 |" in page
