"""Which micro-batches make which update: the run as numbers, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AcrossEpochs = Literal["carry", "flush"]


@dataclass(frozen=True)
class TrainingPlan:
    """The updates of a run.

    micro_batches: their number in each epoch. accumulation: micro-batches an update.
    across_epochs: `carry` lets an accumulation window run on into the next epoch and divides every micro-loss by
    `accumulation` (transformers 4.44); `flush` ends the last window with its epoch and divides by its own count
    (transformers 5). With `carry`, training stops after micro_batches // accumulation updates an epoch, so the run's
    last micro-batches are not used. An epoch no longer than a window counts for one update and ends with one; others
    still follow where windows are full, so a run of such epochs may be over before the last of them.
    """

    micro_batches: Sequence[int]
    accumulation: int = 1
    across_epochs: AcrossEpochs = "carry"

    @property
    def updates(self) -> int:
        """All updates of the run."""
        return sum(self._updates_in(count) for count in self.micro_batches)

    @property
    def epoch_ends(self) -> list[int]:
        """Updates done when each epoch's evaluation comes; the last is that of the run, wherever it falls."""
        ends = [0]
        for epoch in range(len(self.micro_batches)):
            _, full, closed = self._windows(epoch)
            ends.append(min(ends[-1] + full + closed, self.updates))
            if ends[-1] == self.updates:
                break
        return ends[1:]

    def _updates_in(self, count: int) -> int:
        if self.across_epochs == "flush":
            return -(-count // self.accumulation)
        return max(1, count // self.accumulation)

    def window(self, epoch: int, micro_batch: int) -> tuple[int, bool]:
        """(what the micro-loss is divided by, whether an update follows) for a micro-batch, both counted from 0."""
        count = self.micro_batches[epoch]
        if self.across_epochs == "flush":
            start = micro_batch - micro_batch % self.accumulation
            size = min(self.accumulation, count - start)
            return size, micro_batch == start + size - 1
        done = sum(self.micro_batches[:epoch]) + micro_batch + 1
        short = count <= self.accumulation and micro_batch == count - 1
        return self.accumulation, short or done % self.accumulation == 0

    def epoch_at(self, update: int) -> float:
        """The epoch shown for an update, as transformers counts it: whole epochs, and the used share of its own."""
        for epoch, count in enumerate(self.micro_batches):
            carried, full, closed = self._windows(epoch)
            if update <= full + closed:
                return epoch + min(update * self.accumulation - carried, count) / count
            update -= full + closed
        raise ValueError(f"the run ends {update} updates earlier")

    def _windows(self, epoch: int) -> tuple[int, int, bool]:
        """(micro-batches of a window from before, windows filled, whether the epoch's end closes one) of an epoch."""
        count = self.micro_batches[epoch]
        carried = sum(self.micro_batches[:epoch]) % self.accumulation if self.across_epochs == "carry" else 0
        full, rest = divmod(carried + count, self.accumulation)
        return carried, full, rest > 0 and (self.across_epochs == "flush" or count <= self.accumulation)
