"""Which rows meet in a micro-batch. In-batch negatives are only negatives if no text stands in a batch twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from matryoshka.data.draws import Draws
from matryoshka.data.first_fit import first_fit, shared_texts
from matryoshka.data.ranges import Count, Seed

Clashes = Literal["smaller_batch", "mask"]


@dataclass(frozen=True)
class BatchSummary:
    """An epoch's batches in numbers.

    extra: batches more than the rows would fill. of_one_row: batches of one row, which has no negatives. sharing: rows
    of which another row has a text too. clashing: rows with a text that an earlier row of their batch has.
    """

    batches: int
    extra: int = 0
    of_one_row: int = 0
    sharing: int = 0
    clashing: int = 0


class ShuffledSampler:
    """Batches of a permutation seeded by seed + epoch; the last batch may be smaller.

    texts: per row a number for each of its texts, one a column; equal texts have equal numbers. Of Draws each epoch has
    others, beside which a row keeps the positives that it has not drawn.
    """

    def __init__(self, texts: Sequence[Sequence[int]], batch_size: Count, seed: Seed = 42) -> None:
        self.texts = texts
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._shared = shared_texts(texts.of_epoch(0) if isinstance(texts, Draws) else texts)
        self._full = -(-len(texts) // batch_size)  # batches if none is smaller, but for the last
        self._first = (0, 0)  # of which epoch, with which batch a pass begins
        self.reached = (0, 0)  # the epoch and the batch that a training comes to next
        self._made: tuple[int, list[list[int]]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order."""
        self.epoch = epoch

    def start_at(self, batch: int) -> None:
        """Let passes over the present epoch begin with this batch: a run goes on where it was cut off."""
        self._first = (self.epoch, batch)

    def state_dict(self) -> dict[str, Any]:
        """How far the training is; batches that workers have prepared ahead do not count."""
        return {"reached": self.reached}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there."""
        self.reached = epoch, batch = tuple(state["reached"])
        self.set_epoch(epoch)
        self.start_at(batch)

    def permutation(self) -> list[int]:
        """The rows in this epoch's order."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(len(self.texts), generator=generator).tolist()
        return order

    def batches(self) -> list[list[int]]:
        """All batches of this epoch, every row once; made when first asked for."""
        if self._made is None or self._made[0] != self.epoch:
            if isinstance(self.texts, Draws):
                self._shared = shared_texts(self.texts.of_epoch(self.epoch))
            self._made = (self.epoch, self.make_batches())
        return self._made[1]

    def make_batches(self) -> list[list[int]]:
        """The batches of self.epoch, of self.permutation(): what another sampler does in another way."""
        order = self.permutation()
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]

    def summary(self) -> BatchSummary:
        """This epoch's batches in numbers."""
        return BatchSummary(
            batches=len(self),
            extra=len(self) - self._full,
            of_one_row=sum(len(batch) == 1 for batch in self.batches()),
            sharing=sum(map(bool, self._shared)),
            clashing=sum(repeats(batch, self._shared) for batch in self.batches()),
        )

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = self._first
        return iter(self.batches()[first if epoch == self.epoch else 0 :])

    def __len__(self) -> int:
        return len(self.batches())


class NoDuplicatesSampler(ShuffledSampler):
    """No text twice in a batch, in any column: a row that clashes waits for the next batch.

    The same batches as sentence-transformers 6.2's no_duplicates sampler makes with the same seed, without scanning
    the waiting rows for each. clashes: says what is done with rows that cannot be kept apart in as many batches as they
    fill. `smaller_batch`: more batches, the last ones smaller (of one row at worst, which learns nothing). `mask`: no
    more batches, so that copies meet, and the loss leaves out what is no negative (see negatives). Every row is in
    exactly one batch either way.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        batch_size: Count,
        seed: Seed = 42,
        clashes: Clashes = "smaller_batch",
    ) -> None:
        super().__init__(texts, batch_size, seed)
        self.full_batches = clashes == "mask"

    def make_batches(self) -> list[list[int]]:
        """Put each row into the first batch that has none of its texts."""
        most = self._full if self.full_batches else None
        return first_fit(self.permutation(), self._shared, self.batch_size, most)


def repeats(batch: Sequence[int], shared: Sequence[Sequence[int]]) -> int:
    """Rows of a batch with a text that an earlier row of it has."""
    seen: set[int] = set()
    count = 0
    for row in batch:
        count += not seen.isdisjoint(shared[row])
        seen.update(shared[row])
    return count
