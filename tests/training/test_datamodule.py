"""Token ids to packed batches: columns in order, every epoch its own order, counts known beforehand."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from datasets import Dataset
from torch import nn

from matryoshka.data.equal_texts import text_numbers
from matryoshka.data.negatives import EveryOther
from matryoshka.data.packing import PackedBatch
from matryoshka.data.samplers import NoDuplicatesSampler, ShuffledSampler
from matryoshka.training.datamodule import PairsModule, Workers

ROWS = 11
PAIRS = Dataset.from_dict(
    {
        "anchor": [[0, 10 + i, 2] for i in range(ROWS)],
        "positive": [[0, 40 + i // 2, 41, 2] for i in range(ROWS)],  # two rows share each passage
        "negative_1": [[0, *range(60, 61 + i), 2] for i in range(ROWS)],
    }
)


def module(sampler: type[ShuffledSampler] = NoDuplicatesSampler, workers: Workers = 0) -> PairsModule:
    return PairsModule(PAIRS, partial(sampler, batch_size=4, seed=3), workers)


def rows_of(batch: PackedBatch) -> list[int]:
    """Which rows a batch holds, read from its first column; the other columns must be those rows'."""
    offsets, ids = batch.cu_seqlens_Z.tolist(), batch.input_ids_T.tolist()
    texts = [ids[start:end] for start, end in pairwise(offsets)]
    size = batch.columns[0]
    assert batch.columns == (size, size, size)
    rows = [text[1] - 10 for text in texts[:size]]
    assert texts[:size] == [PAIRS[row]["anchor"] for row in rows]
    assert texts[size : 2 * size] == [PAIRS[row]["positive"] for row in rows]
    assert texts[2 * size :] == [PAIRS[row]["negative_1"] for row in rows]
    return rows


def orders(sampler: type[ShuffledSampler], epochs: int) -> list[list[list[int]]]:
    """The batches that a sampler by itself gives in each epoch."""
    made = sampler(text_numbers(PAIRS), 4, 3)
    batches = []
    for epoch in range(epochs):
        made.set_epoch(epoch)
        batches.append(list(made))
    return batches


def test_a_batch_says_how_long_its_prompts_are_where_that_is_told() -> None:
    prompts = {"negative_1": 3, "anchor": 1, "positive": 2}
    data = PairsModule(PAIRS, partial(ShuffledSampler, batch_size=4), prompts=prompts)

    assert data.collate([3, 1]).prompts == (1, 1, 2, 2, 3, 3)
    assert module().collate([3, 1]).prompts == ()


def test_collate_keeps_rows_and_columns_together() -> None:
    batch = module().collate([5, 2])

    assert rows_of(batch) == [5, 2]
    assert batch.lengths == (3, 3, 4, 4, 8, 5)


@pytest.mark.parametrize("sampler", [ShuffledSampler, NoDuplicatesSampler])
def test_the_loader_gives_the_samplers_batches(sampler: type[ShuffledSampler]) -> None:
    loader = module(sampler).train_dataloader()

    assert [rows_of(batch) for batch in loader] == orders(sampler, 1)[0]
    assert len(loader) == len(orders(sampler, 1)[0])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_reading_batches_draws_nothing_from_the_generator_of_dropout(workers: int) -> None:
    """With workers torch draws a loader's seed at another time than without: dropout would differ with their number."""
    before = torch.get_rng_state()
    batches = [rows_of(batch) for batch in module(workers=workers).train_dataloader()]

    assert batches == orders(NoDuplicatesSampler, 1)[0]
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("device", "asked", "workers", "pinned"),
    [("cpu", "auto", 0, False), ("cuda", "auto", 2, True), ("cpu", 1, 1, False), ("cuda", 0, 0, True)],
)
def test_workers_and_pinned_memory_go_by_the_device_of_the_training(
    device: str, asked: Workers, workers: int, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by whether there is a GPU: a training on the CPU beside one copies to none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data = module(workers=asked)
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))  # type: ignore[assignment]
    loader = data.train_dataloader()

    assert (loader.num_workers, loader.persistent_workers, loader.pin_memory) == (workers, workers > 0, pinned)


def test_a_worker_that_is_not_forked_gets_no_trainer() -> None:
    """As on Windows, and from Python 3.14 on everywhere: what makes its batches is copied, a Trainer cannot be."""
    data = module()
    data.trainer = SimpleNamespace(logger=lambda: None)  # type: ignore[assignment]
    collate = pickle.loads(pickle.dumps(data.collate))

    assert rows_of(collate([5, 2])) == [5, 2]
    assert data.trainer is not None


class Recording(pl.LightningModule):
    """Writes down the rows of every batch that Lightning hands it."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = nn.Parameter(torch.zeros(1))
        self.epochs: list[list[list[int]]] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: PackedBatch, batch_index: int) -> None:
        self.epochs[-1].append(rows_of(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")
def test_lightning_tells_the_sampler_each_epoch(tmp_path: Path) -> None:
    recording, data = Recording(), module()
    data.micro_batches(3)  # as a run does; it must not leave the sampler in another epoch
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(recording, data)

    assert recording.epochs == orders(NoDuplicatesSampler, 3)
    assert recording.epochs[0] != recording.epochs[1]


@pytest.mark.parametrize("sampler", [ShuffledSampler, NoDuplicatesSampler])
def test_micro_batches_are_counted_for_every_epoch(sampler: type[ShuffledSampler]) -> None:
    data = module(sampler)

    assert data.micro_batches(5) == [len(batches) for batches in orders(sampler, 5)]
    assert data.sampler.epoch == 0


def test_counts_of_epochs_may_differ() -> None:
    """With many rows on one passage the batches depend on the order."""
    texts = [[0, 5, 2]] * 3 + [[0, 6 + i, 2] for i in range(5)]
    pairs = Dataset.from_dict({"anchor": [[0, 20 + i, 2] for i in range(8)], "positive": texts})
    data = PairsModule(pairs, partial(NoDuplicatesSampler, batch_size=3, seed=0))

    counts = data.micro_batches(12)
    assert len(set(counts)) > 1
    for epoch, count in enumerate(counts):
        data.sampler.set_epoch(epoch)
        assert len(list(data.train_dataloader())) == count


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, [3, 3]), (2, [2, 2]), (7, [3, 3]), (1.0, [3, 3]), (0.5, [1, 1]), (0.7, [2, 2])]
)
def test_a_limit_is_lightnings(limit: int | float | None, expected: list[int]) -> None:
    assert module(ShuffledSampler).micro_batches(2, limit) == expected


def test_copies_in_a_batch_are_masked_unless_every_other_candidate_is_a_negative() -> None:
    rows = [0, 1, 4]  # the first two share their passage
    masked = PairsModule(PAIRS, partial(NoDuplicatesSampler, batch_size=4, clashes="mask")).collate(rows)

    assert masked.mask_BN is not None
    assert masked.mask_BN.int().tolist() == [[0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert masked.to("meta").mask_BN.device.type == "meta"  # type: ignore[union-attr]
    every = PairsModule(PAIRS, partial(NoDuplicatesSampler, batch_size=4, clashes="mask"), negatives=EveryOther)
    assert every.collate(rows).mask_BN is None


@pytest.mark.parametrize(("device", "waits"), [("cuda", False), ("cpu", True), ("mps", True)])
def test_only_a_gpu_is_sent_batches_without_waiting(monkeypatch: pytest.MonkeyPatch, device: str, waits: bool) -> None:
    asked: list[tuple[torch.device, bool]] = []

    def to(batch: PackedBatch, where: torch.device, non_blocking: bool) -> PackedBatch:
        asked.append((where, non_blocking))
        return batch

    monkeypatch.setattr(PackedBatch, "to", to)
    data = module()
    data.transfer_batch_to_device(data.collate([0, 1]), torch.device(device), 0)

    assert asked == [(torch.device(device), not waits)]
