"""Every metric against its definition in plain Python, over random rankings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from matryoshka.evaluation.metrics import MAP, MRR, NDCG, Accuracy, Precision, RankedMetric, Recall

Of = Callable[..., RankedMetric]  # a metric by its k
Ranking = tuple[list[int], list[int]]  # the grade of each hit; those of all relevant documents


def accuracy(hits: Sequence[int], every: Sequence[int], k: int) -> float:
    return 1.0 if any(hits[:k]) else 0.0


def precision(hits: Sequence[int], every: Sequence[int], k: int) -> float:
    return sum(grade > 0 for grade in hits[:k]) / k


def recall(hits: Sequence[int], every: Sequence[int], k: int) -> float:
    return sum(grade > 0 for grade in hits[:k]) / len(every)


def mrr(hits: Sequence[int], every: Sequence[int], k: int) -> float:
    for rank, grade in enumerate(hits[:k], start=1):
        if grade > 0:
            return 1 / rank
    return 0.0


def ndcg(hits: Sequence[int], every: Sequence[int], k: int) -> float:
    def gain(grades: Sequence[int]) -> float:
        return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades[:k], start=1))

    return gain(hits) / gain(sorted(every, reverse=True))


def average_precision(hits: Sequence[int], every: Sequence[int], k: int) -> float:
    precisions = [precision(hits, every, rank) for rank in range(1, min(k, len(hits)) + 1) if hits[rank - 1] > 0]
    return sum(precisions) / min(k, len(every))


DEFINITIONS: dict[Of, Callable[[Sequence[int], Sequence[int], int], float]] = {
    Accuracy: accuracy,
    Precision: precision,
    Recall: recall,
    MRR: mrr,
    NDCG: ndcg,
    MAP: average_precision,
}
ALL = pytest.mark.parametrize("metric", DEFINITIONS)


def mean_by_loop(metric: Of, rankings: Sequence[Ranking], k: int) -> float:
    return sum(DEFINITIONS[metric](hits, every, k) for hits, every in rankings) / len(rankings)


def tensors(rankings: Sequence[Ranking]) -> tuple[Tensor, Tensor]:
    highest = [torch.tensor(sorted(every, reverse=True)) for _, every in rankings]
    return torch.tensor([hits for hits, _ in rankings]), pad_sequence(highest, batch_first=True)


def ranking(hits: list[int], *missed: int) -> Ranking:
    """Hits by their grades, and the grades of relevant documents that were not found."""
    return hits, [*(grade for grade in hits if grade), *missed]


@st.composite
def some_rankings(draw: st.DrawFn, highest: int | None = None) -> list[Ranking]:
    """Rankings of equal depth; there may be more relevant documents than were found."""
    depth = draw(st.integers(1, 12))
    highest = draw(st.sampled_from([1, 3])) if highest is None else highest
    found = draw(st.lists(st.lists(st.integers(0, highest), min_size=depth, max_size=depth), min_size=1, max_size=8))
    missed = st.lists(st.integers(1, highest), max_size=5)
    return [ranking(hits, *draw(missed if any(hits) else missed.filter(bool))) for hits in found]


@ALL
@settings(deadline=None, max_examples=60)
@given(rankings=some_rankings(), k=st.integers(1, 20))
def test_each_metric_equals_its_definition(metric: Of, rankings: list[Ranking], k: int) -> None:
    """k is often larger than the number of hits there are: the missing ranks count as not relevant."""
    measured = metric(k)
    measured.update(*tensors(rankings))

    value = measured.compute()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(mean_by_loop(metric, rankings, k), abs=1e-12)
    assert 0 <= value.item() <= 1 + 1e-12


@pytest.mark.parametrize("metric", [Recall, Accuracy, MRR])
@settings(deadline=None, max_examples=40)
@given(rankings=some_rankings(), k=st.integers(1, 20))
def test_more_ranks_never_lower_what_is_found(metric: Of, rankings: list[Ranking], k: int) -> None:
    values = []
    for ranks in (k, k + 1):
        measured = metric(ranks)
        measured.update(*tensors(rankings))
        values.append(measured.compute().item())

    assert values[0] <= values[1] + 1e-12


@ALL
def test_hand_worked_values(metric: Of) -> None:
    """Two queries: hits at ranks 2 and 4 of 3 relevant documents; none of 1 relevant document found."""
    rankings = [ranking([0, 1, 0, 1, 0], 1), ranking([0] * 5, 1)]
    expected = {
        Accuracy: 1 / 2,
        Precision: (2 / 4) / 2,
        Recall: (2 / 3) / 2,
        MRR: (1 / 2) / 2,
        NDCG: (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2) / 2,
        MAP: (1 / 2 + 2 / 4) / 3 / 2,
    }

    measured = metric(4)
    measured.update(*tensors(rankings))
    assert measured.compute().item() == pytest.approx(expected[metric], abs=1e-12)


def test_hand_worked_values_of_grades() -> None:
    """Grades 1 and 3 at ranks 1 and 3, one of 2 not found; the highest grades would come first."""
    graded = ranking([1, 0, 3, 0], 2)
    ideal = {1: 3.0, 2: 3 + 2 / math.log2(3), 3: 3 + 2 / math.log2(3) + 1 / 2}

    for k, best in ideal.items():
        measured = NDCG(k)
        measured.update(*tensors([graded]))
        assert measured.compute().item() == pytest.approx((1 + (3 / 2 if k == 3 else 0)) / best, abs=1e-12)


@pytest.mark.parametrize("metric", [Accuracy, Precision, Recall, MRR, MAP])
@settings(deadline=None, max_examples=40)
@given(rankings=some_rankings(highest=3), k=st.integers(1, 14))
def test_grades_matter_to_ndcg_alone(metric: Of, rankings: list[Ranking], k: int) -> None:
    plain, graded = metric(k), metric(k)
    graded.update(*tensors(rankings))
    plain.update(*(grades > 0 for grades in tensors(rankings)))

    assert torch.equal(graded.compute(), plain.compute())


@ALL
def test_a_perfect_ranking_is_worth_1(metric: Of) -> None:
    measured = metric(3)
    measured.update(*tensors([ranking([3, 2, 1, 0]), ranking([1, 1, 1, 1], *[1] * 5)]))

    expected = (1 + 3 / 9) / 2 if metric is Recall else 1
    assert measured.compute().item() == pytest.approx(expected, abs=1e-12)


def random_rankings(queries: int, depth: int = 10) -> list[Ranking]:
    hits_Qk = torch.rand(queries, depth, generator=torch.Generator().manual_seed(queries)) < 0.2
    return [ranking(hits_k.int().tolist(), *[1] * (1 + i % 3)) for i, hits_k in enumerate(hits_Qk)]


@ALL
def test_several_updates_equal_one(metric: Of) -> None:
    """Of different sizes, so that a mean of means would be another number."""
    rankings = random_rankings(37)
    whole, parts = metric(5), metric(5)
    whole.update(*tensors(rankings))
    for start, end in ((0, 1), (1, 8), (8, 37)):
        parts.update(*tensors(rankings[start:end]))

    assert parts.compute().item() == pytest.approx(whole.compute().item(), abs=1e-12)
    assert whole.compute().item() == pytest.approx(mean_by_loop(metric, rankings, 5), abs=1e-12)


@ALL
def test_states_of_two_processes_add_up(metric: Of) -> None:
    rankings = random_rankings(20)
    one, other = metric(5), metric(5)
    one.update(*tensors(rankings[:3]))
    other.update(*tensors(rankings[3:]))

    together = deepcopy(one)
    for name, reduction in one._reductions.items():
        setattr(together, name, reduction(torch.stack([getattr(one, name), getattr(other, name)])))  # type: ignore[operator]
    assert together.compute().item() == pytest.approx(mean_by_loop(metric, rankings, 5), abs=1e-12)


@ALL
def test_reset_forgets(metric: Of) -> None:
    measured = metric(5)
    measured.update(*tensors(random_rankings(9)))
    measured.reset()
    measured.update(*tensors(random_rankings(4)))

    assert measured.compute().item() == pytest.approx(mean_by_loop(metric, random_rankings(4), 5), abs=1e-12)


@ALL
@pytest.mark.parametrize("k", [0, -1])
def test_without_a_rank_there_is_no_metric(metric: Of, k: int) -> None:
    with pytest.raises(ValueError, match=f"k={k}: at least one rank is needed"):
        metric(k)


@ALL
def test_a_query_without_a_relevant_document_is_refused(metric: Of) -> None:
    with pytest.raises(ValueError, match="every query needs a relevant document"):
        metric(3).update(torch.zeros(2, 3), torch.tensor([[1], [0]]))
