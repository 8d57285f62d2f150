"""Expectations over ties against the mean over every order there is."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from matryoshka.evaluation import metrics
from matryoshka.evaluation.ties import EXPECTED, TiedRanks

PLAIN = {
    "accuracy": metrics.accuracy,
    "precision": metrics.precision,
    "recall": metrics.recall,
    "ndcg": metrics.ndcg,
    "mrr": metrics.mrr,
    "map": metrics.average_precision,
}


def mean_over_orders(groups: list[list[int]], name: str, all_QR: Tensor, k: int) -> float:
    """Every order of every group, written out."""
    values = []
    for order in product(*(permutations(group) for group in groups)):
        grade_QK = torch.tensor([[grade for group in order for grade in group]])
        values.append(float(PLAIN[name](grade_QK, all_QR, k)))
    return sum(values) / len(values)


def hits_of(groups: list[list[int]]) -> tuple[Tensor, Tensor]:
    similarities = [1.0 - g / 10 for g, group in enumerate(groups) for _ in group]
    return torch.tensor([similarities]), torch.tensor([[grade for group in groups for grade in group]])


def all_grades(groups: list[list[int]]) -> Tensor:
    """Of a query that finds all of its answers, or has one more if it finds none."""
    return torch.tensor([sorted((grade for group in groups for grade in group if grade), reverse=True) or [1]])


@pytest.mark.parametrize("name", EXPECTED)
@given(
    groups=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=3), k=st.integers(1, 12)
)
@settings(max_examples=15, deadline=None)
def test_the_expectation_is_the_mean_over_every_order(name: str, groups: list[list[int]], k: int) -> None:
    all_QR = all_grades(groups)

    value = EXPECTED[name](TiedRanks.of(*hits_of(groups)), all_QR, k)

    assert float(value) == pytest.approx(mean_over_orders(groups, name, all_QR, k), abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_group_may_reach_beyond_the_hits(name: str) -> None:
    whole = [[0], [1, 0, 0, 3, 0]]
    similarities, grades = hits_of(whole)
    size, relevant, gain = torch.tensor([5]), torch.tensor([2]), torch.tensor([4])
    cut = TiedRanks.of(similarities[:, :3], grades[:, :3], (size, relevant, gain))

    value = EXPECTED[name](cut, all_grades(whole), 3)

    assert float(value) == pytest.approx(mean_over_orders(whole, name, all_grades(whole), 3), abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
def test_without_ties_it_is_the_metric_itself(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    grades = (torch.randint(0, 20, (50, 20), generator=generator) - 16).clamp(min=0)
    similarities = torch.rand(50, 20, generator=generator).sort(1, descending=True).values
    all_QR = torch.cat([grades, torch.ones(50, 1)], 1).sort(1, descending=True).values

    value = EXPECTED[name](TiedRanks.of(similarities, grades), all_QR, 10)

    torch.testing.assert_close(value, PLAIN[name](grades, all_QR, 10))


def test_ten_copies_of_which_one_counts_by_hand() -> None:
    ranks = TiedRanks.of(*hits_of([[1] + [0] * 9]))
    one = torch.tensor([[1]])

    by_hand = {
        ("accuracy", 1): 0.1,
        ("accuracy", 3): 0.3,
        ("accuracy", 10): 1.0,
        ("mrr", 10): sum(1 / i for i in range(1, 11)) / 10,  # .2929
        ("map", 100): 0.29289682539682538,
        ("ndcg", 10): 0.45435593,
    }
    for (name, k), value in by_hand.items():
        assert float(EXPECTED[name](ranks, one, k)) == pytest.approx(value, abs=1e-8)


def test_places_without_a_hit_count_for_nothing() -> None:
    similarities = torch.tensor([[0.5, -torch.inf, -torch.inf]])
    ranks = TiedRanks.of(similarities, torch.tensor([[0, 1, 3]]))

    for name in EXPECTED:
        assert float(EXPECTED[name](ranks, torch.tensor([[3, 1]]), 3)) == 0.0
