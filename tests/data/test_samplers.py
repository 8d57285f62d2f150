"""Every row once, no text twice in a batch, the order a function of seed and epoch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.data.samplers import BatchSummary, NoDuplicatesSampler, ShuffledSampler

CARD_ROWS, CARD_BATCH = 4957, 16

Texts = Sequence[tuple[int, ...]]
SAMPLERS = pytest.mark.parametrize("sampler", [ShuffledSampler, NoDuplicatesSampler])


def permutation(rows: int, seed: int) -> list[int]:
    order: list[int] = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def batches_by_search(texts: Texts, batch_size: int, seed: int) -> list[list[int]]:
    """Fill one batch after the other with the first row left that shares no text with those in it."""
    left = permutation(len(texts), seed)
    batches: list[list[int]] = []
    while left:
        batch: list[int] = []
        while len(batch) < batch_size:
            inside = {text for row in batch for text in texts[row]}
            fitting = [row for row in left if not inside & set(texts[row])]
            if not fitting:
                break
            batch.append(fitting[0])
            left.remove(fitting[0])
        batches.append(batch)
    return batches


def card_like(hub_share: float) -> list[tuple[int, int]]:
    """Rows of which a share has one and the same passage."""
    hub = int(hub_share * CARD_ROWS)
    return [(row, CARD_ROWS + (0 if row < hub else row)) for row in range(CARD_ROWS)]


duplicated = st.lists(st.tuples(st.integers(0, 7), st.integers(4, 11), st.integers(0, 30)), max_size=40)


@settings(deadline=None)
@given(duplicated, st.integers(1, 9), st.integers(0, 1000), st.integers(0, 3))
def test_no_duplicates_equals_a_search(texts: Texts, batch_size: int, seed: int, epoch: int) -> None:
    sampler = NoDuplicatesSampler(texts, batch_size, seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)

    assert batches == batches_by_search(texts, batch_size, seed + epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(texts)))
    assert len(sampler) == len(batches)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        for i, row in enumerate(batch):
            for other in batch[i + 1 :]:
                assert not set(texts[row]) & set(texts[other])


@SAMPLERS
@settings(deadline=None, max_examples=50)
@given(texts=duplicated, batch_size=st.integers(1, 9), epoch=st.integers(0, 3), first=st.integers(0, 50))
def test_a_pass_that_starts_anywhere_is_the_tail_of_the_whole(
    sampler: type[ShuffledSampler], texts: Texts, batch_size: int, epoch: int, first: int
) -> None:
    whole, resumed = sampler(texts, batch_size), sampler(texts, batch_size)
    for each in (whole, resumed):
        each.set_epoch(epoch)
    batches = list(whole)
    resumed.start_at(first)

    assert list(resumed) == batches[first:]
    for each in (whole, resumed):
        each.set_epoch(epoch + 1)
    assert list(resumed) == list(whole)  # the next epoch begins at its start
    assert sorted(row for batch in batches for row in batch) == list(range(len(texts)))


def test_shuffled_cuts_the_seeds_permutation() -> None:
    sampler = ShuffledSampler([(i,) for i in range(10)], batch_size=4, seed=7)
    sampler.set_epoch(2)

    order = permutation(10, seed=9)
    assert list(sampler) == [order[:4], order[4:8], order[8:]]
    assert len(sampler) == 3


@SAMPLERS
def test_order_follows_from_seed_and_epoch(sampler: type[ShuffledSampler]) -> None:
    texts = [(i, 100 + i // 2) for i in range(64)]

    def epoch(seed: int, number: int) -> list[list[int]]:
        made = sampler(texts, 8, seed)
        made.set_epoch(number)
        assert list(made) == list(made)
        return list(made)

    assert epoch(1, 0) == epoch(1, 0)
    assert epoch(1, 0) != epoch(1, 1)
    assert epoch(1, 0) != epoch(2, 0)


@SAMPLERS
def test_torchs_own_random_numbers_are_left_alone(sampler: type[ShuffledSampler]) -> None:
    before = torch.random.get_rng_state()
    list(sampler([(i,) for i in range(20)], 4))

    assert torch.equal(before, torch.random.get_rng_state())


def test_without_duplicates_both_samplers_agree() -> None:
    texts = [(2 * i, 2 * i + 1) for i in range(50)]

    assert list(NoDuplicatesSampler(texts, 8)) == list(ShuffledSampler(texts, 8))


def test_the_cards_epoch_has_310_batches_the_last_of_13() -> None:
    batches = list(NoDuplicatesSampler(card_like(0), CARD_BATCH))

    assert [len(batch) for batch in batches] == [16] * 309 + [13]


def test_a_text_shared_across_columns_clashes() -> None:
    texts = [(1, 2), (2, 3), (4, 1), (5, 6)]

    for batch in NoDuplicatesSampler(texts, 4):
        assert not {0, 1} <= set(batch)
        assert not {0, 2} <= set(batch)


def test_a_row_whose_texts_are_equal_is_kept() -> None:
    assert sorted(row for batch in NoDuplicatesSampler([(1, 1), (2, 2)], 2) for row in batch) == [0, 1]


def test_a_passage_of_many_rows_costs_batches_but_no_row() -> None:
    """The share where scanning anew for each batch takes long and a promised length is too short."""
    sampler = NoDuplicatesSampler(card_like(0.3), CARD_BATCH)
    batches = list(sampler)

    hub = int(0.3 * CARD_ROWS)
    assert sorted(row for batch in batches for row in batch) == list(range(CARD_ROWS))
    assert all(sum(row < hub for row in batch) <= 1 for batch in batches)
    assert len(sampler) == len(batches) >= hub


@SAMPLERS
def test_no_rows_make_no_batches(sampler: type[ShuffledSampler]) -> None:
    assert list(sampler([], 4)) == []


def test_masked_clashes_keep_the_batches_full() -> None:
    texts = card_like(0.3)
    sampler = NoDuplicatesSampler(texts, CARD_BATCH, clashes="mask")

    batches = list(sampler)
    assert [len(batch) for batch in batches] == [16] * 309 + [13]
    assert sorted(row for batch in batches for row in batch) == list(range(CARD_ROWS))
    hub = int(0.3 * CARD_ROWS)
    with_hub = [sum(row < hub for row in batch) for batch in batches]
    assert min(with_hub) >= 1
    summary = sampler.summary()
    assert (summary.extra, summary.sharing, summary.clashing) == (0, hub, hub - 310)


def test_masked_and_smaller_batches_agree_where_nothing_clashes() -> None:
    texts = [(i, 100 + i // 2) for i in range(64)]

    assert list(NoDuplicatesSampler(texts, 8, clashes="mask")) == list(NoDuplicatesSampler(texts, 8))


def test_a_summary_counts_what_copies_cost() -> None:
    hub = int(0.3 * CARD_ROWS)
    summary = NoDuplicatesSampler(card_like(0.3), CARD_BATCH).summary()

    assert summary.batches == 310 + summary.extra == hub
    assert summary.of_one_row > 1000
    assert (summary.sharing, summary.clashing) == (hub, 0)
    assert NoDuplicatesSampler(card_like(0), CARD_BATCH).summary() == BatchSummary(310)


def test_a_summary_of_plain_batches_counts_rows_that_meet_a_copy() -> None:
    sampler = ShuffledSampler([(0, 9), (1, 9), (2, 9), (3, 8)], batch_size=4)

    assert sampler.summary() == BatchSummary(1, sharing=3, clashing=2)


@SAMPLERS
def test_a_pass_can_begin_amid_an_epoch(sampler: type[ShuffledSampler]) -> None:
    made = sampler([(i, 100 + i // 2) for i in range(64)], 8)
    made.set_epoch(3)
    whole = list(made)

    made.start_at(5)
    assert list(made) == list(made) == whole[5:]
    assert len(made) == len(whole)
    made.set_epoch(4)
    assert sorted(row for batch in made for row in batch) == list(range(64))  # that epoch alone
