"""Batches of one source each, as its own sampler makes them, in proportion or by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, count, islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.data.mixture_sampler import MixtureSampler, apportioned
from matryoshka.data.samplers import NoDuplicatesSampler, ShuffledSampler
from matryoshka.errors import DataError

Texts = Sequence[tuple[int, ...]]
KINDS = pytest.mark.parametrize("kind", [ShuffledSampler, NoDuplicatesSampler])
sources = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.integers(5, 30)), min_size=1, max_size=25), min_size=1, max_size=4
)


def mixture(
    parts: Sequence[Texts], kind: type[ShuffledSampler], weights: Sequence[float] | None = None
) -> MixtureSampler:
    names = [f"s{i}" for i in range(len(parts))]
    sizes = dict(zip(names, map(len, parts), strict=True))
    by_name = dict(zip(names, weights, strict=True)) if weights else None
    return MixtureSampler([row for part in parts for row in part], partial(kind, batch_size=4, seed=7), sizes, by_name)


def alone(parts: Sequence[Texts], kind: type[ShuffledSampler], source: int, epoch: int) -> list[list[int]]:
    """The batches of a source that is trained on by itself, with its rows' numbers in the mixture."""
    sampler, start = kind(parts[source], batch_size=4, seed=7), sum(map(len, parts[:source]))
    sampler.set_epoch(epoch)
    return [[start + row for row in batch] for batch in sampler]


def every_pass(parts: Sequence[Texts], kind: type[ShuffledSampler], source: int) -> Iterator[list[int]]:
    """The batches of a source epoch after epoch, without an end."""
    return chain.from_iterable(alone(parts, kind, source, epoch) for epoch in count())


def by_source(parts: Sequence[Texts], batches: Sequence[Sequence[int]]) -> list[list[list[int]]]:
    """Each source's batches, in their order; every batch is of one."""
    source_of = [source for source, part in enumerate(parts) for _ in part]
    found: list[list[list[int]]] = [[] for _ in parts]
    for batch in batches:
        (source,) = {source_of[row] for row in batch}
        found[source].append(list(batch))
    return found


@KINDS
@settings(deadline=None, max_examples=50)
@given(parts=sources, epoch=st.integers(0, 3))
def test_in_proportion_each_source_has_the_batches_that_it_has_alone(
    kind: type[ShuffledSampler], parts: Sequence[Texts], epoch: int
) -> None:
    sampler = mixture(parts, kind)
    sampler.set_epoch(epoch)
    batches = list(sampler)

    assert by_source(parts, batches) == [alone(parts, kind, source, epoch) for source in range(len(parts))]
    assert sorted(row for batch in batches for row in batch) == list(range(sum(map(len, parts))))
    labels = [sampler.source_of(batch[0]) for batch in batches]
    ordered = [f"s{source}" for source in range(len(parts)) for _ in alone(parts, kind, source, epoch)]
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(7 + epoch)).tolist()
    assert labels == [ordered[place] for place in order]
    assert len(sampler) == len(batches) == sampler.summary().batches


@KINDS
@settings(deadline=None, max_examples=25)
@given(parts=sources, weights=st.lists(st.floats(0.2, 5), min_size=4, max_size=4), epochs=st.integers(1, 4))
def test_by_weight_each_source_goes_on_where_it_was(
    kind: type[ShuffledSampler], parts: Sequence[Texts], weights: Sequence[float], epochs: int
) -> None:
    weights = weights[: len(parts)]
    passes = [every_pass(parts, kind, source) for source in range(len(parts))]
    total = sum(len(alone(parts, kind, i, 0)) for i in range(len(parts)))
    try:
        sampler = mixture(parts, kind, weights)
    except DataError as error:
        assert "gets none" in str(error) and min(weights) / sum(weights) * total < 1
        return
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == total
        for source, own in enumerate(by_source(parts, batches)):
            assert own == list(islice(passes[source], len(own)))
            assert abs(len(own) - total * weights[source] / sum(weights)) < 1
        assert sampler.shares() == {f"s{i}": len(own) for i, own in enumerate(by_source(parts, batches))}


@pytest.mark.parametrize("weights", [None, (3, 1)])
def test_a_sampler_that_is_made_anew_goes_on_in_the_midst_of_an_epoch(weights: Sequence[float] | None) -> None:
    parts = [[(i, 100 + i) for i in range(23)], [(i, 200 + i % 5) for i in range(40)]]
    whole, resumed = mixture(parts, NoDuplicatesSampler, weights), mixture(parts, NoDuplicatesSampler, weights)
    expected = []
    for epoch in range(4):
        whole.set_epoch(epoch)
        expected.append(list(whole))
    whole.reached = (2, 5)

    resumed.load_state_dict(whole.state_dict())
    assert list(resumed) == expected[2][5:]
    resumed.set_epoch(3)
    assert list(resumed) == expected[3]


def test_the_summary_counts_over_all_sources() -> None:
    # One source whose rows all have one passage, one of which each row has its own, and a text that both have.
    parts = [[(i, 50) for i in range(6)], [(100 + i, 200 + i) for i in range(7)] + [(0, 300)]]
    sampler = mixture(parts, NoDuplicatesSampler)

    summary = sampler.summary()
    assert summary.batches == len(sampler) == 6 + 2
    assert (summary.extra, summary.of_one_row, summary.clashing) == (6 - 2, 6, 0)
    assert summary.sharing == 7
    assert mixture(parts, ShuffledSampler).summary().clashing == (4 - 1) + (2 - 1)


def test_a_source_that_would_get_no_batch_is_refused() -> None:
    parts = [[(i, 100 + i) for i in range(40)], [(i, 200 + i) for i in range(40)]]
    with pytest.raises(DataError, match=r"of 20 batches an epoch s1 gets none; .* ~sources\.s1"):
        mixture(parts, ShuffledSampler, (100, 1))


def test_shares_are_whole_and_add_up() -> None:
    assert apportioned(10, [1, 1, 1]) == [4, 3, 3]
    assert apportioned(10, [2, 1]) == [7, 3]
    assert apportioned(7, [0.5, 0.25, 0.25]) == [3, 2, 2]
    assert apportioned(0, [1, 3]) == [0, 0]


def test_batches_of_a_source_take_turns_with_the_others() -> None:
    sampler = mixture([[(i, 100 + i) for i in range(80)], [(i, 200 + i) for i in range(80)]], ShuffledSampler)
    first_half = Counter(sampler.source_of(batch[0]) for batch in list(sampler)[:20])
    assert all(3 < first_half[name] < 17 for name in ("s0", "s1"))
