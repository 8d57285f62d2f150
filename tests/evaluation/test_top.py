"""The running top-k against a stable sort of every pair's exact similarity."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from matryoshka.evaluation.nearest import RunningTop, error_bound, exact_cosine, exact_length, kth_at_least
from matryoshka.losses.similarities import nested_similarities
from tests.evaluation.all_pairs import draw, exact_cosines, hits_by_all_pairs


def cosine_by_fsum(query_d: list[float], document_d: list[float]) -> float:
    """Correctly rounded sums: the products of fp32 numbers are exact in fp64."""
    product, *squares = (
        math.fsum(a * b for a, b in zip(x, y, strict=True))
        for x, y in ((query_d, document_d), (query_d, query_d), (document_d, document_d))
    )
    return product / math.sqrt(squares[0]) / math.sqrt(squares[1])


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 64, 96, 1023])
def test_a_cosine_by_halves_is_a_cosine(dim: int) -> None:
    queries_Pd, documents_Pd = draw(5, dim).double(), draw(5, dim, seed=1).double()

    expected = map(cosine_by_fsum, queries_Pd.tolist(), documents_Pd.tolist())
    cosines_P = exact_cosine(queries_Pd, documents_Pd, exact_length(queries_Pd))
    for cosine, exact in zip(cosines_P.tolist(), expected, strict=True):
        assert abs(cosine - exact) <= error_bound(dim, torch.float64)


def test_a_cosine_by_halves_does_not_know_its_place() -> None:
    query_d, document_d = draw(1, 771).double(), draw(1, 771, seed=1).double()

    length = exact_length(query_d)
    alone = exact_cosine(query_d, document_d, length)
    for rows in (2, 3, 17, 1000):
        together_P = exact_cosine(query_d.expand(rows, -1), document_d.repeat(rows, 1), length.expand(rows))
        assert (together_P == alone).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [0.0, 20.0])
def test_products_keep_to_the_bound(dtype: torch.dtype, shift: float) -> None:
    queries_QD, documents_ND = shift + draw(7, 300), shift + draw(90, 300, seed=1)

    for dim, near_QN in nested_similarities(queries_QD.to(dtype), documents_ND.to(dtype), [300, 64, 5]):
        exact_QN = exact_cosines(queries_QD[:, :dim], documents_ND[:, :dim])
        assert (near_QN - exact_QN).abs().max() <= error_bound(dim, dtype)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_error_within_the_bound_changes_a_bit(data: st.DataObject) -> None:
    """Products as wrong as they may be, copies that get different products, chunks in fp32 and fp64 as they come."""
    seed, k = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 12))
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    shift = data.draw(st.sampled_from([0.0, 1.0, 30.0]))
    distinct_Ud, queries_Qd = shift + draw(9, 20, seed=seed), shift + draw(4, 20, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    documents_Nd = distinct_Ud[torch.randint(0, 9, (sum(sizes),), generator=generator)]

    k = min(k, sum(sizes))
    top = RunningTop(queries_Qd, k, torch.float32)
    row = 0
    for size in sizes:
        part_Nd = documents_Nd[row : row + size]
        dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
        exact_QN = exact_cosines(queries_Qd, part_Nd)
        wrong_QN = torch.rand(exact_QN.shape, generator=generator).mul(2).sub(1).sign() * error_bound(20, dtype) * 0.9
        top.add((exact_QN + wrong_QN).to(dtype), part_Nd, row)
        row += size
    expected = hits_by_all_pairs(queries_Qd, documents_Nd, k)
    assert torch.equal(top.documents_Qk, expected.documents_Qk)
    assert torch.equal(top.similarities_Qk, expected.similarities_Qk)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.lists(st.sampled_from([-1.0, -1e-40, -0.0, 0.0, 1e-40, 0.25, 0.25000003, 1.0]), min_size=9, max_size=9),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 9),
)
def test_at_least_k_reach_the_kth(similarities: list[list[float]], k: int) -> None:
    x_QN = torch.tensor(similarities)
    assert ((x_QN >= kth_at_least(x_QN, k)[:, None]).sum(1) >= k).all()


def test_hardly_more_than_k_reach_the_kth() -> None:
    x_QN: Tensor = draw(200, 4099)
    reach_Q = (x_QN >= kth_at_least(x_QN, 100)[:, None]).sum(1).double()
    assert reach_Q.mean() < 140
