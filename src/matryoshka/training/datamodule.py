"""Token ids of pairs to packed batches, for Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from matryoshka.data.equal_texts import text_numbers
from matryoshka.data.guide import Guide
from matryoshka.data.negatives import KnownPositives, Negatives
from matryoshka.data.packing import PackedBatch, number_matrices
from matryoshka.data.samplers import ShuffledSampler

if TYPE_CHECKING:
    from datasets import Dataset

MakeSampler = Callable[[Sequence[Sequence[int]]], ShuffledSampler]
MakeNegatives = Callable[..., Negatives]
Workers = int | Literal["auto"]
BESIDE_A_GPU = 2  # workers: a GPU waits for a batch, of which making one takes 0.5 ms; a CPU has no cores to spare


class PairsModule(pl.LightningDataModule):
    """Training batches from tokenized pairs.

    pairs: token ids, a column each for anchor, positive, negatives. sampler: the numbers of every row's texts -> batch
    sampler. texts: the pairs before they were tokenized, so that texts with different prompts are known to be equal.
    negatives: the same numbers and these pairs -> what is no negative. numbers: those of the pairs' candidates.
    workers: processes that prepare batches; auto: by the device of the training. prompts: tokens of the prompt in front
    of each column's texts, which only a pooling without the prompt must know.
    """

    def __init__(
        self,
        pairs: Dataset,
        sampler: MakeSampler,
        workers: Workers = 0,
        texts: Dataset | None = None,
        negatives: MakeNegatives = KnownPositives,
        numbers: Dataset | None = None,
        prompts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.columns: list[str] = pairs.column_names
        self.workers = workers
        self.numbers = numbers
        self.prompts = [prompts[column] for column in self.columns] if prompts else []
        equal = text_numbers(pairs, texts)
        self.sampler = sampler(equal)
        self.negatives = negatives(texts=equal, pairs=pairs if texts is None else texts)

    def train_dataloader(self) -> DataLoader[PackedBatch]:
        """One packed batch a micro-batch of the sampler."""
        # Lightning tells the epoch to `batch_sampler.sampler`; the batch sampler itself is what must know it.
        self.sampler.sampler = self.sampler  # type: ignore[attr-defined]
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        workers = (BESIDE_A_GPU if on_gpu else 0) if self.workers == "auto" else self.workers
        return DataLoader(
            range(len(self.pairs)),  # type: ignore[arg-type]  # collate reads the rows of a batch at once
            batch_sampler=self.sampler,
            collate_fn=self.collate,
            num_workers=workers,
            # Else each epoch's loader draws from the generator of dropout, with workers at another time than without.
            generator=torch.Generator(),
            persistent_workers=workers > 0,
            pin_memory=on_gpu,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the Trainer, which a worker has no use for and need not be able to copy."""
        return {**self.__dict__, "trainer": None}

    def collate(self, rows: Sequence[int]) -> PackedBatch:
        """The rows of these numbers as one packed batch, column by column."""
        table = self.pairs[list(rows)]
        numbers = {} if self.numbers is None else number_matrices(self.numbers[list(rows)], self.columns[1:])
        if isinstance(self.negatives, Guide):
            numbers = {**self.negatives.numbers(rows), **numbers}
        columns = [table[column] for column in self.columns]
        return PackedBatch.from_ids(columns, self.negatives.mask(rows), rows, numbers, self.prompts)

    def transfer_batch_to_device(self, batch: PackedBatch, device: torch.device, dataloader_idx: int) -> PackedBatch:
        """The batch on the device, from the loader's pinned memory: Lightning by itself would wait for the copy."""
        return batch.to(device, non_blocking=device.type == "cuda")

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
