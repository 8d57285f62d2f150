"""Answers to a question against encoding every text alone and sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from matryoshka.data.copies import normalised
from matryoshka.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.evaluation.ask import answers
from matryoshka.evaluation.embeddings import InMemory, embed
from matryoshka.evaluation.tokenized_set import TokenizedSet
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder

DIMS = [8, 32, 16]
QUESTION = "was ist frist?"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return tiny_encoder(modes=("mean",), prompts={"query": "query: ", "document": "passage: "})


@pytest.fixture(scope="module")
def texts(encoder: Encoder) -> TokenizedSet:
    return TokenizedSet.of(small_set(), encoder.tokenize)


def by_loop(encoder: Encoder, corpus: dict[str, str], dim: int, k: int) -> list[tuple[str, str, float]]:
    """(first copy's id, id, cosine) of the k best, of copies the one that ranks first."""

    def vector(text: str, prompt: Any) -> Any:
        return np.asarray(encoder.encode([text], dim=dim, prompt=prompt)[0], dtype=np.float64)

    asked, found = vector(QUESTION, "query"), {}
    for document in sorted(corpus):
        found[document] = float(np.float32(asked @ vector(corpus[document], "document")))
    best: dict[str, tuple[str, str, float]] = {}
    for document in sorted(found, key=lambda document: (-round(found[document], 5), document)):
        text = normalised(corpus[document])
        first = min(other for other in corpus if normalised(corpus[other]) == text)
        best.setdefault(text, (first, document, found[document]))
    return list(best.values())[:k]


@pytest.mark.parametrize("k", [1, 5, 100])
def test_answers_are_the_best_merged_passages(encoder: Encoder, texts: TokenizedSet, k: int) -> None:
    found = answers(encoder, texts, QUESTION, DIMS, k)
    assert found.question == QUESTION
    assert found.dims == [32, 16, 8]
    corpus = dict(texts.data.corpus)
    for dim in DIMS:
        expected = by_loop(encoder, corpus, dim, k)
        assert [(one.passage, one.document) for one in found.best[dim]] == [one[:2] for one in expected]
        assert [one.similarity for one in found.best[dim]] == pytest.approx([one[2] for one in expected], abs=1e-5)
        assert all(one.text == corpus[one.document] for one in found.best[dim])
    assert len(found.best[32]) == min(k, 21)  # 26 documents, 5 of them copies


def test_lost_are_the_passages_of_the_widest_dim_that_are_not_found(encoder: Encoder, texts: TokenizedSet) -> None:
    found = answers(encoder, texts, QUESTION, DIMS, 5)
    wide, narrow = ([one.passage for one in found.best[dim]] for dim in (32, 8))
    assert found.lost(8) == [passage for passage in wide if passage not in narrow] != []
    assert found.lost(32) == []


def test_embeddings_that_are_there_are_used(
    encoder: Encoder, texts: TokenizedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = InMemory()
    (documents_UD,), _ = embed(encoder, [texts.documents], token_budget=4096, store=store)
    expected = answers(encoder, texts, QUESTION, DIMS)
    encoded: list[int] = []
    pooled = encoder.pooled
    monkeypatch.setattr(encoder, "pooled", lambda batch: (encoded.append(len(batch.lengths)), pooled(batch))[1])
    assert answers(encoder, texts, QUESTION, DIMS, store=store) == expected
    assert encoded == [1]  # the question alone
    assert torch.equal(documents_UD, embed(encoder, [texts.documents], token_budget=4096)[0][0])


def test_an_empty_question_is_refused(encoder: Encoder, texts: TokenizedSet) -> None:
    with pytest.raises(UserError, match="the question is empty"):
        answers(encoder, texts, " ", DIMS)
