"""Which rows meet in a micro-batch. In-batch negatives are only negatives if no text stands in a batch twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


class ShuffledSampler:
    """Batches of a permutation seeded by seed + epoch; the last batch may be smaller.

    texts: per row the keys of its texts, one a column (only their number matters here).
    """

    def __init__(self, texts: Sequence[Sequence[int]], batch_size: int, seed: int = 42) -> None:
        self.texts = texts
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order."""
        self.epoch = epoch

    def permutation(self) -> list[int]:
        """The rows in this epoch's order."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(len(self.texts), generator=generator).tolist()
        return order

    def batches(self) -> list[list[int]]:
        """All batches of this epoch, every row once."""
        order = self.permutation()
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches())

    def __len__(self) -> int:
        return len(self.batches())


class NoDuplicatesSampler(ShuffledSampler):
    """No text twice in a batch, in any column: a row that clashes waits for the next batch.

    The permutation is scanned from its head, as sentence-transformers' no_duplicates sampler does; rows that
    clash keep their order. Every row is in exactly one batch; batches are smaller where nothing else is left.
    """

    def batches(self) -> list[list[int]]:
        """All batches of this epoch, every row once, no text twice in a batch."""
        waiting = self.permutation()
        batches: list[list[int]] = []
        while waiting:
            batch: list[int] = []
            seen: set[int] = set()
            clashing: list[int] = []
            for place, row in enumerate(waiting):
                if seen.isdisjoint(self.texts[row]):
                    batch.append(row)
                    seen.update(self.texts[row])
                    if len(batch) == self.batch_size:
                        clashing += waiting[place + 1 :]
                        break
                else:
                    clashing.append(row)
            batches.append(batch)
            waiting = clashing
        return batches
