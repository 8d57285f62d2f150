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


def mean_over_orders(groups: list[list[bool]], name: str, total: int, k: int) -> float:
    """Every order of every group, written out."""
    values = []
    for order in product(*(permutations(group) for group in groups)):
        relevant_QK = torch.tensor([[answer for group in order for answer in group]])
        values.append(float(PLAIN[name](relevant_QK, torch.tensor([total]), k)))
    return sum(values) / len(values)


def hits_of(groups: list[list[bool]]) -> tuple[Tensor, Tensor]:
    similarities = [1.0 - g / 10 for g, group in enumerate(groups) for _ in group]
    return torch.tensor([similarities]), torch.tensor([[answer for group in groups for answer in group]])


@pytest.mark.parametrize("name", EXPECTED)
@given(groups=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=3), k=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_the_expectation_is_the_mean_over_every_order(name: str, groups: list[list[bool]], k: int) -> None:
    total = max(1, sum(map(sum, groups)))

    value = EXPECTED[name](TiedRanks.of(*hits_of(groups)), torch.tensor([total]), k)

    assert float(value) == pytest.approx(mean_over_orders(groups, name, total, k), abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_group_may_reach_beyond_the_hits(name: str) -> None:
    whole = [[False], [True, False, False, True, False]]
    similarities, relevant = hits_of(whole)
    cut = TiedRanks.of(similarities[:, :3], relevant[:, :3], torch.tensor([5]), torch.tensor([2]))

    value = EXPECTED[name](cut, torch.tensor([2]), 3)

    assert float(value) == pytest.approx(mean_over_orders(whole, name, 2, 3), abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
def test_without_ties_it_is_the_metric_itself(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    relevant = torch.rand(50, 20, generator=generator) < 0.2
    similarities = torch.rand(50, 20, generator=generator).sort(1, descending=True).values
    total = relevant.sum(1).clamp(min=1)

    value = EXPECTED[name](TiedRanks.of(similarities, relevant), total, 10)

    torch.testing.assert_close(value, PLAIN[name](relevant, total, 10))


def test_ten_copies_of_which_one_counts_by_hand() -> None:
    ranks = TiedRanks.of(*hits_of([[True] + [False] * 9]))
    one = torch.tensor([1])

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
    ranks = TiedRanks.of(similarities, torch.tensor([[False, True, True]]))

    assert float(EXPECTED["recall"](ranks, torch.tensor([2]), 3)) == 0.0
