"""Token ids of pairs to packed batches, for Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from matryoshka.data.equal_texts import text_numbers
from matryoshka.data.guide import Guide
from matryoshka.data.negatives import KnownPositives, Negatives
from matryoshka.data.packing import PackedBatch, number_matrices
from matryoshka.data.samplers import BatchSummary, ShuffledSampler
from matryoshka.data.tokens import distinct_tokens, token_counts
from matryoshka.errors import UserError
from matryoshka.training.drawn_texts import DrawnTexts, EpochBatches

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
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
    drawn: what each epoch draws from, where rows have more texts than columns; pairs and texts are the first of each
    then. Raises UserError for negatives that know the columns alone.
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
        drawn: DrawnTexts | None = None,
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.columns: list[str] = pairs.column_names
        self.workers = workers
        self.numbers = numbers
        self.prompts = [prompts[column] for column in self.columns] if prompts else []
        self.drawn = drawn
        equal = text_numbers(pairs, texts) if drawn is None else drawn.draws
        self.sampler = sampler(equal)
        self.negatives = negatives(texts=equal, pairs=pairs if texts is None else texts)
        if drawn is not None and not vars(type(self.negatives)).get("of_draws"):
            raise UserError(
                f"negatives: {type(self.negatives).__name__} knows the first texts of each row, and each epoch draws "
                "others; use negatives=known_positives, or files with one text a column"
            )

    def train_dataloader(self) -> DataLoader[PackedBatch]:
        """One packed batch a micro-batch of the sampler."""
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        workers = (BESIDE_A_GPU if on_gpu else 0) if self.workers == "auto" else self.workers
        return DataLoader(
            _Numbers(),  # collate reads the rows of a batch at once
            batch_sampler=EpochBatches(self.sampler, len(self.pairs) if self.drawn else 0),
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
        """The rows of these numbers, or draws, as one packed batch, column by column."""
        numbers = self._numbers(rows)
        if isinstance(self.negatives, Guide):
            numbers = {**self.negatives.numbers(rows), **numbers}
        return PackedBatch.from_ids(self.ids(rows), self._mask(rows), rows, numbers, self.prompts)

    def ids(self, rows: Sequence[int]) -> list[list[list[int]]]:
        """The token ids of these rows, column by column."""
        if self.drawn is not None:
            return self.drawn.columns(rows)
        table = self.pairs[list(rows)]
        return [table[column] for column in self.columns]

    def token_counts(self) -> dict[str, npt.NDArray[np.int64]]:
        """The number of tokens of every row in the first epoch, for each column."""
        return token_counts(self.pairs) if self.drawn is None else self.drawn.token_counts(self.columns)

    def distinct_tokens(self) -> set[int]:
        """All token ids that occur, in whatever epoch."""
        return distinct_tokens(self.pairs) if self.drawn is None else self.drawn.distinct()

    def masks(self, summary: BatchSummary) -> bool:
        """Whether the loss leaves out candidates of such batches."""
        return self.negatives.masks(summary) or (self.drawn is not None and self.drawn.draws.masks())

    def _mask(self, rows: Sequence[int]) -> Tensor | None:
        masks = [self.drawn.draws.mask(rows) if self.drawn is not None else None, self.negatives.mask(rows)]
        both = [mask_BN for mask_BN in masks if mask_BN is not None]
        return torch.stack(both).any(0) if len(both) > 1 else next(iter(both), None)

    def _numbers(self, rows: Sequence[int]) -> dict[str, Tensor]:
        if self.drawn is not None:
            return number_matrices(self.drawn.draws.scores(rows), self.columns[1:])
        return {} if self.numbers is None else number_matrices(self.numbers[list(rows)], self.columns[1:])

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


class _Numbers(TorchDataset[Any]):
    """A data set of which the rows are their numbers."""

    def __getitem__(self, number: int) -> int:
        return number
