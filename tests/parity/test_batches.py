"""The batches of sentence-transformers' own no_duplicates sampler, copies or not."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import torch
from datasets import Dataset
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from matryoshka.data.samplers import NoDuplicatesSampler
from tests.parity.conftest import Parity, release

AREA = "Batches"
THEIRS = f"{release('sentence-transformers')}, NoDuplicatesBatchSampler"
ROWS, BATCH = 4957, 16  # the card's

Texts = Sequence[tuple[int, ...]]
pytestmark = pytest.mark.filterwarnings("default")


def their_batches(texts: Texts, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    columns = {f"column_{i}": [f"text {row[i]}" for row in texts] for i in range(len(texts[0]))}
    sampler = NoDuplicatesBatchSampler(
        Dataset.from_dict(columns), batch_size, drop_last=False, generator=torch.Generator(), seed=seed
    )
    sampler.set_epoch(epoch)
    return list(sampler)


def our_batches(texts: Texts, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    sampler = NoDuplicatesSampler(texts, batch_size, seed)
    sampler.set_epoch(epoch)
    assert len(sampler) == len(list(sampler))
    return list(sampler)


def drawn(rows: int, columns: int, vocabulary: int, seed: int) -> Texts:
    """Rows of texts drawn from a few: the fewer, the more copies, within and across columns."""
    generator = torch.Generator().manual_seed(seed)
    return [tuple(row) for row in torch.randint(vocabulary, (rows, columns), generator=generator).tolist()]


@pytest.mark.parametrize("epoch", range(3))
@pytest.mark.parametrize("seed", [0, 42])
def test_without_copies_the_cards_rows(parity: Parity, seed: int, epoch: int) -> None:
    texts = [(row, ROWS + row) for row in range(ROWS)]

    ours, theirs = our_batches(texts, BATCH, seed, epoch), their_batches(texts, BATCH, seed, epoch)
    parity.equal("batches, no text twice (4,957 rows, 16 a batch)", THEIRS, ours, theirs)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_a_passage_of_many_rows(parity: Parity, share: float) -> None:
    texts = [(row, ROWS + (0 if row < share * ROWS else row)) for row in range(ROWS)]

    ours, theirs = our_batches(texts, BATCH, 42, 1), their_batches(texts, BATCH, 42, 1)
    assert len(ours) >= share * ROWS
    parity.equal("batches, up to 10% of the rows on one passage", THEIRS, ours, theirs)


@pytest.mark.parametrize("case", range(12))
def test_copies_in_any_column(parity: Parity, case: int) -> None:
    texts = drawn(rows=60 + case, columns=2 + case % 3, vocabulary=(12, 60, 400)[case // 4], seed=case)

    ours, theirs = our_batches(texts, 2 + case, case, case), their_batches(texts, 2 + case, case, case)
    parity.equal("batches, copies in and across 2 to 4 columns", THEIRS, ours, theirs)


def test_length_and_rows_of_an_epoch(parity: Parity) -> None:
    """Where many rows share a passage, theirs promises 310 batches and gives more; its Trainer stops at 310."""
    texts = [(row, ROWS + (0 if row < 0.1 * ROWS else row)) for row in range(ROWS)]

    sampler = NoDuplicatesSampler(texts, BATCH)
    batches = list(sampler)
    parity.equal("length promised before the epoch", "batches given", [len(sampler)], [len(batches)])
    seen = sorted(row for batch in batches for row in batch)
    parity.equal("rows of an epoch, 10% on one passage", "every row once", seen, list(range(ROWS)))


def test_seconds_of_100_000_rows(parity: Parity) -> None:
    texts = [(row, 100_000 + (0 if row < 30_000 else row)) for row in range(100_000)]

    start = time.process_time()
    count = len(NoDuplicatesSampler(texts, BATCH))
    seconds = time.process_time() - start
    assert count == 30_000
    parity.within("seconds for 100,000 rows, 30% on one passage", "a limit", seconds, 0, 1)
