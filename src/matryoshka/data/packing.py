"""Sequences laid end to end in one row: no padding to compute, and the padded form for whoever needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedBatch:
    """S sequences of token ids, T tokens in all.

    input_ids_T: the sequences one after another. lengths: tokens of each sequence (on the host: no device sync).
    columns: how many of the sequences belong to each column (anchors first, then positives, then negatives).
    mask_BN: candidates that are no negatives of a row, if there are any (see clashes.no_negatives).
    """

    input_ids_T: Tensor
    lengths: tuple[int, ...]
    columns: tuple[int, ...]
    mask_BN: Tensor | None = None

    @classmethod
    def from_ids(cls, columns: Sequence[Sequence[Sequence[int]]], mask_BN: Tensor | None = None) -> PackedBatch:
        """Pack the sequences of every column, in order."""
        sequences = [ids for column in columns for ids in column]
        flat = torch.tensor([i for ids in sequences for i in ids], dtype=torch.int64)
        return cls(flat, tuple(map(len, sequences)), tuple(map(len, columns)), mask_BN)

    @property
    def offsets(self) -> list[int]:
        """Where each sequence starts, and the end of the last: S + 1 numbers."""
        starts = [0]
        for length in self.lengths:
            starts.append(starts[-1] + length)
        return starts

    def positions_T(self) -> Tensor:
        """The place of each token in its own sequence, from 0."""
        return torch.cat([torch.arange(length) for length in self.lengths]).to(
            self.input_ids_T.device, non_blocking=True
        )

    def padded(self, pad_id: int) -> tuple[Tensor, Tensor]:
        """input_ids_SL and attention_mask_SL, each sequence filled up on the right to the longest."""
        mask_SL = torch.arange(max(self.lengths))[None] < torch.tensor(self.lengths)[:, None]
        mask_SL = mask_SL.to(self.input_ids_T.device)
        ids_SL = torch.full(mask_SL.shape, pad_id, dtype=torch.int64, device=mask_SL.device)
        ids_SL[mask_SL] = self.input_ids_T
        return ids_SL, mask_SL

    def in_parts(self, pairs: int) -> Iterator[tuple[PackedBatch, list[int]]]:
        """The batch in parts of so many pairs, each with the places of its sequences in the whole batch."""
        ids, rows = self.input_ids_T.split(list(self.lengths)), self.columns[0]
        for start in range(0, rows, pairs):
            end = min(start + pairs, rows)
            places = [column * rows + row for column in range(len(self.columns)) for row in range(start, end)]
            part = torch.cat([ids[place] for place in places])
            lengths = tuple(self.lengths[place] for place in places)
            yield PackedBatch(part, lengths, (end - start,) * len(self.columns)), places

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch on another device."""
        ids_T, mask_BN = self.input_ids_T, self.mask_BN
        return replace(
            self,
            input_ids_T=ids_T.to(device, non_blocking=non_blocking),
            mask_BN=None if mask_BN is None else mask_BN.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> PackedBatch:
        """The same batch in page-locked memory, from where copies to a GPU need not wait."""
        mask_BN = None if self.mask_BN is None else self.mask_BN.pin_memory()
        return replace(self, input_ids_T=self.input_ids_T.pin_memory(), mask_BN=mask_BN)


def by_token_budget(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Indices of sequences in batches of at most token_budget tokens (a longer one stands alone), longest first.

    Longest first, so that a batch that does not fit memory fails at the start; like lengths meet in a batch.
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and tokens + lengths[index] > token_budget:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch
