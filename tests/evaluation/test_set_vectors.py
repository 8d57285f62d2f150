from __future__ import annotations

import pytest
import torch

from matryoshka.encoder.dense import Dense
from matryoshka.evaluation.embeddings import embed
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.set_vectors import ChosenRows, SetVectors
from matryoshka.evaluation.tokenized_set import TokenizedSet
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder


@pytest.fixture(scope="module")
def texts() -> TokenizedSet:
    return TokenizedSet.of(small_set(), tiny_encoder().tokenize)


def vectors(texts: TokenizedSet) -> SetVectors:
    (documents_UD, queries_UD), _ = embed(tiny_encoder(), [texts.documents, texts.queries], token_budget=4096)
    return SetVectors(texts.judgements, queries_UD[texts.queries_Q], documents_UD, texts.documents_N)


def test_what_is_embedded_is_measured_as_when_it_is_encoded(texts: TokenizedSet) -> None:
    found = Evaluator().measure_vectors("tiny", vectors(texts), [32, 8])
    expected = Evaluator().evaluate(tiny_encoder(), texts, [32, 8])
    assert (found.metrics, found.merged, found.intervals) == (expected.metrics, expected.merged, expected.intervals)


def test_behind_a_matrix_it_is_measured_as_an_encoder_that_ends_in_it(texts: TokenizedSet) -> None:
    matrix_DD = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    encoder = tiny_encoder()
    encoder.dense.append(Dense.of(matrix_DD))
    found = Evaluator().measure_vectors("tiny", vectors(texts).projected(matrix_DD), [32, 8])
    expected = Evaluator().evaluate(encoder, texts, [32, 8])
    for dim in (32, 8):
        assert found.metrics[dim] == pytest.approx(expected.metrics[dim])


def test_documents_may_stay_as_they_are(texts: TokenizedSet) -> None:
    some, half_DD = vectors(texts), 0.5 * torch.eye(32)
    projected = some.projected(half_DD, documents=False)
    assert torch.equal(projected.queries_QD, some.queries_QD / 2)
    assert projected.documents_UD is some.documents_UD
    plain, scaled = (Evaluator().measure_vectors("tiny", of, [32]) for of in (some, projected))
    assert plain.metrics == scaled.metrics  # lengths do not count


def test_merged_documents_are_those_of_the_judgements(texts: TokenizedSet) -> None:
    some = vectors(texts)
    _, documents_ND, answers = some.merged()
    assert len(documents_ND) == len(texts.document_ids) - texts.judgements.copies
    assert [len(of) for of in answers] == [len(of) for of in texts.judgements.merged_answers]


def test_chosen_rows_are_read_in_pieces() -> None:
    rows_ND, chosen_U = torch.randn(9, 4).half(), torch.tensor([5, 0, 7])
    chosen = ChosenRows(rows_ND, chosen_U)
    assert len(chosen) == 3
    assert torch.equal(chosen[1:3, :2], rows_ND[[0, 7], :2].float())
