"""Exact search against a loop over every query and document, in a total order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from matryoshka.evaluation.nearest import Hits, search
from matryoshka.losses import nested_similarities
from tests.evaluation.all_pairs import draw, hits_by_all_pairs

DIMS = [24, 7, 16]


def hits_by_loop(queries_QD: Tensor, documents_ND: Tensor, dim: int, k: int) -> list[list[tuple[int, float]]]:
    """(row, cosine) of each query's best documents, in fp64; sorted by similarity, then by row."""
    found = []
    for query_D in queries_QD.double().numpy()[:, :dim]:
        rows = []
        for row, document_D in enumerate(documents_ND.double().numpy()[:, :dim]):
            cosine = query_D @ document_D / (np.linalg.norm(query_D) * np.linalg.norm(document_D))
            rows.append((row, float(cosine)))
        found.append(sorted(rows, key=lambda hit: (-round(hit[1], 12), hit[0]))[:k])
    return found


def test_hits_equal_a_loop_at_every_dim() -> None:
    queries_QD, documents_ND = draw(11, 24), draw(60, 24, seed=1) * torch.linspace(0.1, 9, 60)[:, None]

    found = search(queries_QD, documents_ND, DIMS, k=10)
    assert list(found) == DIMS
    for dim, hits in found.items():
        expected = hits_by_loop(queries_QD, documents_ND, dim, 10)
        assert hits.documents_Qk.tolist() == [[row for row, _ in hits_of_query] for hits_of_query in expected]
        similarities_Qk = torch.tensor([[similarity for _, similarity in query] for query in expected])
        torch.testing.assert_close(hits.similarities_Qk, similarities_Qk, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("chunk", "document_chunk"), [(1, 203), (2, 7), (3, 64), (5, 100), (256, 1), (256, 4096)])
def test_copies_stand_together_by_row_number_whatever_the_chunks(chunk: int, document_chunk: int) -> None:
    """No matter of course: a product of random vectors rounds equal rows by where they stand in it."""
    generator = torch.Generator().manual_seed(2)
    queries_QD, distinct_UD = draw(13, 96), draw(31, 96, seed=1)
    of_row_N = torch.randint(0, 31, (203,), generator=generator)

    hits = search(queries_QD, distinct_UD[of_row_N], [96, 64], 203, chunk, document_chunk)
    for dim in (96, 64):
        order = hits_by_loop(queries_QD, distinct_UD, dim, 31)
        for documents_k, similarities_k, query in zip(
            hits[dim].documents_Qk, hits[dim].similarities_Qk, order, strict=True
        ):
            rows = [row for text, _ in query for row in (of_row_N == text).nonzero().flatten().tolist()]
            assert documents_k.tolist() == rows
            assert len(similarities_k.unique()) == len(of_row_N.unique())


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_ties_go_to_the_lower_row(data: st.DataObject) -> None:
    """Vectors of few small integers, where cosines are often equal and never nearly so."""
    signs = st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
    queries = data.draw(st.lists(signs, min_size=1, max_size=4))
    documents = data.draw(st.lists(signs, min_size=1, max_size=12))
    k = data.draw(st.integers(1, 14))

    found = search(torch.tensor(queries), torch.tensor(documents), [4, 2], k)
    for dim, hits in found.items():
        expected = hits_by_loop(torch.tensor(queries), torch.tensor(documents), dim, k)
        assert hits.documents_Qk.tolist() == [[row for row, _ in query] for query in expected]


CHUNKS = [(1, 60), (4, 7), (10, 1), (11, 16), (1000, 59)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("chunk", "document_chunk"), CHUNKS)
def test_chunks_change_no_bit(chunk: int, document_chunk: int, dtype: torch.dtype) -> None:
    queries_QD, documents_ND = draw(11, 24).to(dtype), draw(60, 24, seed=1).to(dtype)

    for dim, hits in search(queries_QD, documents_ND, DIMS, 15, chunk, document_chunk).items():
        same(hits, hits_by_all_pairs(queries_QD[:, :dim], documents_ND[:, :dim], 15))


@pytest.mark.parametrize(("chunk", "document_chunk"), [(1, 1000), (7, 64), (100, 150)])
def test_chunks_change_no_bit_among_documents_that_are_close(chunk: int, document_chunk: int) -> None:
    """An encoder's cosines crowd together: there a product of fp32 ranks hundreds of hits by how it was cut up."""
    queries_QD, documents_ND = 20 + draw(50, 256), 20 + draw(500, 256, seed=1)

    for dim, hits in search(queries_QD, documents_ND, [256, 64], 30, chunk, document_chunk).items():
        assert hits.similarities_Qk.dtype == torch.float32
        same(hits, hits_by_all_pairs(queries_QD[:, :dim], documents_ND[:, :dim], 30))


def same(hits: Hits, expected: Hits) -> None:
    assert torch.equal(hits.documents_Qk, expected.documents_Qk)
    assert torch.equal(hits.similarities_Qk, expected.similarities_Qk)


@pytest.mark.parametrize("order", ["as drawn", "best last", "all equal"])
def test_products_in_fp32_choose_what_fp64_would(order: str) -> None:
    """So many documents that most chunks are multiplied in fp32; where each is better than the last, none are."""
    queries_QD, documents_ND = draw(3, 16), draw(9000, 16, seed=1)
    if order == "best last":
        documents_ND = documents_ND[(documents_ND @ queries_QD[0] / documents_ND.norm(dim=1)).argsort()]
    if order == "all equal":
        documents_ND = documents_ND[:1].expand(9000, 16)

    for dim, hits in search(queries_QD, documents_ND, [16, 5], 4, document_chunk=500).items():
        same(hits, hits_by_all_pairs(queries_QD[:, :dim], documents_ND[:, :dim], 4))


def test_documents_that_differ_past_a_dim_only_are_tied_at_it() -> None:
    documents_ND = torch.cat([draw(1, 64).expand(203, 64), draw(203, 32, seed=1)], 1)

    hits = search(draw(13, 96, seed=2), documents_ND, [96, 64], k=203)
    assert hits[64].documents_Qk.tolist() == [list(range(203))] * 13
    assert all(documents_k != list(range(203)) for documents_k in hits[96].documents_Qk.tolist())


@pytest.mark.parametrize(("given", "compared"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_similarities_are_of_fp32_or_better(given: torch.dtype, compared: torch.dtype) -> None:
    hits = search(draw(3, 24).to(given), draw(5, 24, seed=1).to(given), [24], k=2)[24]

    assert hits.similarities_Qk.dtype == compared


def test_fewer_documents_than_k_give_all_of_them() -> None:
    found = search(draw(3, 24), draw(5, 24, seed=1), DIMS, k=100)

    for hits in found.values():
        assert hits.documents_Qk.shape == hits.similarities_Qk.shape == (3, 5)
        assert hits.documents_Qk.sort(dim=1).values.tolist() == [list(range(5))] * 3


def test_hits_do_not_hold_on_to_all_similarities() -> None:
    hits = search(draw(3, 24), draw(50, 24, seed=1), [24], k=2)[24]

    assert hits.similarities_Qk.untyped_storage().nbytes() == 3 * 2 * 4
    assert hits.documents_Qk.untyped_storage().nbytes() == 3 * 2 * 8


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1e20])
def test_embeddings_that_are_no_numbers_are_an_error(wrong: float) -> None:
    queries_QD, documents_ND = draw(3, 24), draw(50, 24, seed=1)
    documents_ND[41, 7] = wrong

    with pytest.raises(ValueError, match=r"documents 40 to 49: .* not finite"):
        search(queries_QD, documents_ND, [24], k=2, document_chunk=20)
    with pytest.raises(ValueError, match=r"queries: .* not finite"):
        search(documents_ND, queries_QD, [24], k=2)
    assert search(queries_QD, documents_ND, [7], k=2)[7].documents_Qk.shape == (3, 2)  # it lies past the dim


def test_a_document_without_direction_is_similar_to_nothing() -> None:
    documents_ND = torch.stack([torch.zeros(24), draw(24, seed=1)])
    hits = search(documents_ND[1:], documents_ND, [24], k=2)[24]

    assert hits.documents_Qk.tolist() == [[1, 0]]
    torch.testing.assert_close(hits.similarities_Qk, torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("allowed", ["highest", "high", "medium"])
def test_products_do_not_round_coarsely(monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
    """With tf32, as training on a GPU allows it, a product in fp32 would be off by more than its bound."""
    seen = set()

    def watched(queries_QD: Tensor, documents_ND: Tensor, dims: list[int]) -> Iterator[tuple[int, Tensor]]:
        seen.add((documents_ND.dtype, torch.get_float32_matmul_precision()))
        return nested_similarities(queries_QD, documents_ND, dims)

    monkeypatch.setattr("matryoshka.evaluation.nearest.nested_similarities", watched)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(allowed)
    try:
        search(draw(3, 24), draw(20_000, 24, seed=1), [24], k=2)
        assert torch.get_float32_matmul_precision() == allowed
        with pytest.raises(ValueError, match="not finite"):
            search(draw(3, 24) / 0, draw(5, 24), [24], k=2)
        assert torch.get_float32_matmul_precision() == allowed
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {(torch.float64, "highest"), (torch.float32, "highest")}


def test_no_queries_have_no_hits() -> None:
    assert search(draw(3, 24)[:0], draw(5, 24), [24], k=2)[24].documents_Qk.shape == (0, 2)
