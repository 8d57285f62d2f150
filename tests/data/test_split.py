"""Train, dev and test: no text on two sides, nothing lost, the same by the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from datasets import Dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from matryoshka.config.binding import out_of_range
from matryoshka.config.signatures import parameters_of
from matryoshka.data.copies import components, normalised
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.split import DevOfTrain, SameSet
from matryoshka.errors import DataError

Rows = Sequence[Sequence[str]]
TEST = RetrievalSet(
    "t",
    queries={"q-a": "Wer?", "q-b": "Was?", "q-c": "Niemand weiß es"},
    corpus={"d-a": "Der Notar", "d-b": "Ein Baum", "d-c": "Die See", "x0-0": "Die See", "x0-1": "p0"},
    relevant={"q-a": frozenset(["d-a"]), "q-b": frozenset(["d-b"])},
)


@dataclass(frozen=True)
class Given:
    """A source of given rows."""

    rows: Rows
    own: RetrievalSet | None = None
    name: str = "given"

    def problems(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def training_pairs(self) -> Dataset:
        names = ["anchor", "positive", "negative_1", "negative_2"][: len(self.rows[0])]
        return Dataset.from_dict(dict(zip(names, map(list, zip(*self.rows, strict=True)), strict=True)))

    def retrieval_set(self) -> RetrievalSet:
        return TEST

    def dev_set(self) -> RetrievalSet | None:
        return self.own


def apart(count: int) -> list[tuple[str, str]]:
    """Rows of which no two share a text."""
    return [(f"a{i}", f"p{i}") for i in range(count)]


def rows_of(dev: RetrievalSet) -> set[int]:
    """The training rows that gave the dev set its own documents and queries."""
    return {int(i[2:]) for i in [*dev.queries, *dev.corpus] if not i.startswith("x-")}


def linked_by_brute_force(rows: Sequence[Sequence[int]]) -> set[frozenset[int]]:
    """Groups of rows: merged as long as any two share anything."""
    groups = [({i}, set(row)) for i, row in enumerate(rows)]
    merged = True
    while merged:
        merged = False
        for i, (members, things) in enumerate(groups):
            for j in range(len(groups) - 1, i, -1):
                if things & groups[j][1]:
                    members |= groups[j][0]
                    things |= groups.pop(j)[1]
                    merged = True
    return {frozenset(members) for members, _ in groups}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 15), max_size=3), max_size=14))
def test_components_are_those_of_merging_until_nothing_is_shared(rows: list[list[int]]) -> None:
    found = components(rows)

    assert {frozenset(group) for group in found} == linked_by_brute_force(rows)
    assert all(group == sorted(group) for group in found)
    assert [group[0] for group in found] == sorted(group[0] for group in found)


# Twelve words, each spelt in three ways that are copies of each other.
TEXT = st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from(["{}", "{}.", " {} !"])).map(
    lambda t: t[1].format(t[0])
)
ROWS = st.integers(2, 3).flatmap(lambda n: st.lists(st.tuples(*[TEXT] * n), min_size=2, max_size=12))


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(0, 3), st.sampled_from([0.1, 0.3, 0.6]))
def test_rows_are_partitioned_and_no_text_is_on_both_sides(rows: Rows, seed: int, share: float) -> None:
    source = Given(rows)
    try:
        split = DevOfTrain(share, seed=seed).split(source)
    except DataError:
        assume(False)
    assert split.dev is not None
    pairs = source.training_pairs()
    kept = list(zip(*(split.pairs[name] for name in pairs.column_names), strict=True))
    held_out = [row for row in rows if row[0] in split.dev.queries.values()]

    assert split.pairs.column_names == pairs.column_names
    assert sorted(kept + held_out) == sorted(rows)
    assert kept == [row for row in rows if row not in held_out]  # in their order
    assert 0 < len(held_out) <= max(1, round(share * len(rows)))
    sides = [{normalised(text) for row in side for text in row} for side in (kept, held_out)]
    assert not sides[0] & sides[1]
    dev_texts = {(q, split.dev.corpus[d]) for i, q in split.dev.queries.items() for d in split.dev.relevant[i]}
    assert dev_texts == {row[:2] for row in held_out}


@pytest.mark.parametrize(
    ("share", "at_most", "held_out"), [(0.1, 200, 10), (0.25, 200, 25), (0.5, 7, 7), (0.001, 9, 1)]
)
def test_as_many_rows_are_held_out_as_asked_for(share: float, at_most: int, held_out: int) -> None:
    split = DevOfTrain(share, at_most).split(Given(apart(100)))

    assert split.dev is not None
    assert len(split.dev.queries) == held_out
    assert len(split.pairs) == 100 - held_out


def test_the_seed_alone_decides_which() -> None:
    def drawn(seed: int) -> set[int]:
        dev = DevOfTrain(seed=seed).split(Given(apart(100))).dev
        assert dev is not None
        return rows_of(dev)

    assert drawn(1) == drawn(1)
    assert len({frozenset(drawn(seed)) for seed in range(5)}) == 5


def test_a_group_too_large_for_what_is_left_is_passed_over() -> None:
    shared = [(f"s{i}", "one for all") for i in range(30)]

    for seed in range(5):
        split = DevOfTrain(0.2, seed=seed).split(Given([*shared, *apart(20)]))
        assert split.dev is not None
        assert len(rows_of(split.dev)) == 10
        assert min(rows_of(split.dev)) >= len(shared)


@pytest.mark.parametrize("link", ["anchor", "positive", "negative"])
def test_rows_that_all_hang_together_are_an_error_with_the_remedy(link: str) -> None:
    names = ("anchor", "positive", "negative")
    rows = [[f"{name} {'' if name == link else i}" for name in names] for i in range(20)]

    with pytest.raises(DataError) as error:
        DevOfTrain().split(Given(rows))
    message = str(error.value)
    assert "given: no dev queries can be held out of 20 training pairs" in message
    assert "the smallest group of them has 20, where at most 2" in message
    assert "split=same" in message
    assert "data.dev=<file>" in message


def test_one_pair_is_not_taken_away() -> None:
    with pytest.raises(DataError, match="held out of 1 training pairs"):
        DevOfTrain().split(Given(apart(1)))


def test_the_dev_corpus_has_each_text_once_and_what_answers_no_test_query() -> None:
    shared = [("wer", "p0"), ("wer", "p1"), ("was", "p1"), ("was", "p0"), ("was", "p1")]
    too_many = [("why", f"k{i}") for i in range(7)]
    split = DevOfTrain(5 / 12).split(Given([*too_many, *shared]))

    assert split.dev is not None
    assert split.dev.name == "given (dev)"
    assert dict(split.dev.queries) == {"q-7": "wer", "q-9": "was"}
    assert dict(split.dev.corpus) == {"d-7": "p0", "d-8": "p1", "x-d-c": "Die See"}
    assert list(split.dev.corpus) == ["d-7", "d-8", "x-d-c"]
    assert dict(split.dev.relevant) == {"q-7": {"d-7", "d-8"}, "q-9": {"d-7", "d-8"}}
    assert split.pairs[:] == {"anchor": ["why"] * 7, "positive": [f"k{i}" for i in range(7)]}
    assert split.test is TEST


def test_the_label_says_what_was_selected_on_what() -> None:
    selected = "checkpoint selected on "
    rows = apart(100)

    assert DevOfTrain().split(Given(rows)).label == (
        selected + "10 dev queries that share no text with the training pairs, reported on 2 test queries"
    )
    assert DevOfTrain().split(Given(rows, own=TEST)).label == (
        selected + "the data's 2 dev queries, reported on 2 test queries"
    )
    assert SameSet().split(Given(rows)).label == (
        selected + "the very queries it is reported on, as in the card: the figures are optimistic"
    )


def test_a_dev_set_of_the_data_is_used_as_it_is() -> None:
    split = DevOfTrain().split(Given(apart(9), own=TEST))

    assert split.dev is TEST
    assert len(split.pairs) == 9


def test_a_source_need_not_know_of_dev_sets() -> None:
    class Plain:
        name = "plain"
        training_pairs = Given(apart(10)).training_pairs
        retrieval_set = Given(apart(10)).retrieval_set

    dev = DevOfTrain().split(Plain()).dev  # type: ignore[arg-type]
    assert dev is not None
    assert len(dev.queries) == 1


def test_the_cards_way_trains_on_everything_and_has_no_dev_set() -> None:
    split = SameSet().split(Given(apart(9), own=TEST))

    assert split.dev is None
    assert split.test is TEST
    assert len(split.pairs) == 9


def test_arguments_that_hold_out_nothing_or_everything_are_problems() -> None:
    parameters = parameters_of("matryoshka.data.split.DevOfTrain")
    assert list(out_of_range("", vars(DevOfTrain()), parameters)) == []
    wrong = out_of_range("", {"share": 1.0, "at_most": 0}, parameters)
    assert [key for key, _ in wrong] == ["share", "at_most"]
