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
    (transformers 5). With `carry`, training stops after micro_batches // accumulation updates an epoch, so the last
    micro-batches of the last epoch are not used; an epoch shorter than one window ends with an update.
    """

    micro_batches: Sequence[int]
    accumulation: int = 1
    across_epochs: AcrossEpochs = "carry"

    @property
    def updates(self) -> int:
        """All updates of the run."""
        return sum(self._updates_in(count) for count in self.micro_batches)

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
        """The epoch shown for an update, as transformers counts it: micro-batches used / micro-batches an epoch."""
        if self.across_epochs == "flush":
            whole, rest = divmod(update, self._updates_in(self.micro_batches[0]))
            return whole + min(1.0, rest * self.accumulation / self.micro_batches[0])
        return update * self.accumulation / self.micro_batches[0]
