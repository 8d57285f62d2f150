"""Which means are tried, against a slow and obvious loop."""

from __future__ import annotations

import random

import pytest

from matryoshka.training.mixes import Mix, MixOutcome, greedy_soup, labels_of, tried

LABELS = ("a", "b", "c", "d", "e")


def slow_soup(labels: tuple[str, ...], value: dict[frozenset[str], float]) -> tuple[frozenset[str], float]:
    """The greedy soup, as its paper writes it down."""
    ranked = sorted(labels, key=lambda label: value[frozenset([label])], reverse=True)
    soup: list[str] = []
    best = float("-inf")
    for label in ranked:
        mean = value[frozenset([*soup, label])]
        if mean >= best:
            soup.append(label)
            best = mean
    return frozenset(soup), best


@pytest.mark.parametrize("seed", range(40))
def test_the_greedy_soup_is_that_of_a_slow_loop(seed: int) -> None:
    draw = random.Random(seed)
    labels = LABELS[: draw.randint(3, 5)]
    # of few values, so that there are ties
    value = {
        frozenset(label for bit, label in enumerate(labels) if number >> bit & 1): draw.randint(1, 6) / 10
        for number in range(1, 2 ** len(labels))
    }

    def worth(mix: Mix) -> float:
        assert mix.weights
        there = [weight for weight in mix.weights if weight]
        assert there == pytest.approx([1 / len(there)] * len(there))
        return value[frozenset(label for label, weight in zip(labels, mix.weights, strict=True) if weight)]

    candidates = greedy_soup(labels, worth)

    kept = max(candidates, key=lambda mix: mix.value)  # of equal ones the first, as a choice among them takes it
    assert kept.weights
    soup = frozenset(label for label, weight in zip(labels, kept.weights, strict=True) if weight)
    assert (soup, kept.value) == slow_soup(labels, value)
    assert len(candidates) == 2 * len(labels) - 1
    assert all(mix.value == worth(mix) for mix in candidates)


def test_of_two_models_a_grid_is_tried_the_first_alone_to_the_second_alone() -> None:
    mixes = tried(("a", "b"), [0.25, 0.75], lambda mix: mix.weights[0] if mix.weights else 0)

    assert [mix.weights for mix in mixes] == [(1.0, 0.0), (0.75, 0.25), (0.25, 0.75), (0.0, 1.0)]
    assert [mix.value for mix in mixes] == [1.0, 0.75, 0.25, 0.0]
    assert [mix.name for mix in mixes] == ["a", "0.75 a + 0.25 b", "0.25 a + 0.75 b", "b"]


def test_mixes_in_words() -> None:
    assert Mix.of([1 / 3, 1 / 3, 1 / 3], "abc").name == "mean of a, b, c"
    assert Mix.of([0.5, 0, 0.5], "abc").name == "0.5 a + 0.5 c"
    assert Mix.of([0, 1, 0], "abc").name == "b"


def test_the_outcome_in_words() -> None:
    kept, other = Mix("0.5 a + 0.5 b", (0.5, 0.5), 0.5), Mix("a", (1.0, 0.0), 0.6)

    found = MixOutcome("ndcg@10", ("runs/a", "runs/b"), (other, kept), kept, {"a": "not a: it loses"})
    assert found.said == "0.5 a + 0.5 b: ndcg@10 0.5000 on the choosing queries (a 0.6000); not a: it loses"
    assert found.weights == {"runs/a": 0.5, "runs/b": 0.5}

    given = MixOutcome("ndcg@10", ("a", "b"), (kept,), kept, given=True, remark="it loses 0.1")
    assert given.said == "0.5 a + 0.5 b, as given: ndcg@10 0.5000 on the choosing queries; it loses 0.1"

    untrained = Mix("untrained", None, 0.7)
    none = MixOutcome("ndcg@10", ("a", "b"), (kept, untrained), untrained)
    assert none.said.startswith("untrained: no mix is better: ndcg@10 0.7000")
    assert none.weights == {"a": 0.0, "b": 0.0}


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("outputs/x/one", "outputs/x/two/"), ("one", "two")),
        (("outputs/one/model", "BAAI/bge-m3"), ("one", "bge-m3")),
        (("x/same", "y/same"), ("x/same", "y/same")),
    ],
)
def test_labels_are_as_short_as_they_can_be(names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    assert labels_of(names) == labels
