"""Token ids of pairs to packed batches, for Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from matryoshka.data.clashes import no_negatives
from matryoshka.data.packing import PackedBatch
from matryoshka.data.samplers import ShuffledSampler

if TYPE_CHECKING:
    from datasets import Dataset

MakeSampler = Callable[[Sequence[Sequence[int]]], ShuffledSampler]


class PairsModule(pl.LightningDataModule):
    """Training batches from tokenized pairs.

    pairs: token ids, a column each for anchor, positive, negatives. sampler: text keys of every row -> batch sampler.
    """

    def __init__(self, pairs: Dataset, sampler: MakeSampler, workers: int = 0) -> None:
        super().__init__()
        self.pairs = pairs
        self.columns: list[str] = pairs.column_names
        self.workers = workers
        self.sampler = sampler(text_keys(pairs))

    def train_dataloader(self) -> DataLoader[PackedBatch]:
        """One packed batch a micro-batch of the sampler."""
        # Lightning tells the epoch to `batch_sampler.sampler`; the batch sampler itself is what must know it.
        self.sampler.sampler = self.sampler  # type: ignore[attr-defined]
        return DataLoader(
            self.pairs,
            batch_sampler=self.sampler,
            collate_fn=self.collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def collate(self, rows: Sequence[dict[str, Any]]) -> PackedBatch:
        """Rows of token ids to one packed batch, column by column."""
        columns = [[row[column] for row in rows] for column in self.columns]
        return PackedBatch.from_ids(columns, no_negatives(columns) if self.sampler.mask_clashes else None)

    def micro_batches(self, epochs: int, limit: int | float | None = None) -> list[int]:
        """Micro-batches in each epoch, known before the first; limit as Lightning's limit_train_batches."""
        counts = []
        for epoch in range(epochs):
            self.sampler.set_epoch(epoch)
            counts.append(len(self.sampler))
        self.sampler.set_epoch(0)
        if isinstance(limit, float):
            return [int(count * limit) for count in counts]
        return counts if limit is None else [min(count, limit) for count in counts]


def text_keys(pairs: Dataset) -> list[tuple[int, ...]]:
    """For every row a number for each of its texts; equal texts (as the model reads them) have equal numbers."""
    numbers: dict[bytes, int] = {}
    table = pairs.with_format("arrow")
    columns = [
        [numbers.setdefault(ids, len(numbers)) for chunk in table[column].chunks for ids in _ids_as_bytes(chunk)]
        for column in pairs.column_names
    ]
    return list(zip(*columns, strict=True))


def _ids_as_bytes(lists: Any) -> Iterator[bytes]:
    """Each list of an Arrow array; as bytes, since lists of Python's numbers take twenty times as long."""
    offsets = lists.offsets.to_numpy() * np.dtype(np.int64).itemsize
    values = lists.values.to_numpy(zero_copy_only=False).astype(np.int64).tobytes()
    return (values[start:end] for start, end in pairwise(offsets.tolist()))
