"""The batches of sentence-transformers' own no_duplicates sampler, copies or not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from datasets import Dataset
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from matryoshka.data.samplers import NoDuplicatesSampler
from matryoshka.data.tokens import tokenized_pairs
from matryoshka.training.datamodule import PairsModule
from tests.parity.conftest import Parity, release
from tests.tiny import tiny_tokenizer

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


def test_through_tokens_prompts_and_cut(parity: Parity) -> None:
    """German-like texts as the data module gets them: a question may be another row's passage, prompts differ."""
    words = ["der", "die", "das", "und", "schule", "haus", "rad", "see"]
    texts = Dataset.from_dict(
        {
            "anchor": [f"{words[i % 8]} {words[i % 7]}" for i in range(60)],
            "positive": [f"{words[i % 5]} {words[i % 3]} {words[i % 4]}" if i % 3 else words[i % 8] for i in range(60)],
        }
    )
    prompts = {"anchor": "query: ", "positive": "passage: "}
    ids = tokenized_pairs(texts, tiny_tokenizer(), 32, prompts)
    data = PairsModule(ids, partial(NoDuplicatesSampler, batch_size=8, seed=5), texts=texts)

    theirs = NoDuplicatesBatchSampler(texts, 8, drop_last=False, generator=torch.Generator(), seed=5)
    parity.equal("batches of texts with prompts, copies across columns", THEIRS, list(data.sampler), list(theirs))


def test_promised_and_given(parity: Parity) -> None:
    """Theirs promises as many batches as the rows fill, and its Trainer stops there; ours counts before it starts."""
    texts = [(row, ROWS + (0 if row < 0.1 * ROWS else row)) for row in range(ROWS)]
    columns = {f"column_{i}": [f"text {row[i]}" for row in texts] for i in range(2)}
    theirs = NoDuplicatesBatchSampler(
        Dataset.from_dict(columns), BATCH, drop_last=False, generator=torch.Generator(), seed=42
    )
    given = len(list(theirs))

    assert len(theirs) == 310 < given
    promised = len(NoDuplicatesSampler(texts, BATCH, 42))
    parity.within("batches promised, 10% of the rows on one passage", f"{THEIRS}, batches given", promised, given, 0)
