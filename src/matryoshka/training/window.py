"""The micro-batches of an update as they come: which wait to be encoded together, and what came of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.processes.together import add_up, processes, rank
from matryoshka.training.log_rows import MicroBatch


@dataclass(frozen=True)
class Waiting:
    """A micro-batch that is yet to be encoded. place: its number in its window. dims: those that count in its loss."""

    place: int
    batch: PackedBatch
    dims: Sequence[int]


class Window:
    """The micro-batches of an update. tokens_at_once: those that wait for each other have no more, but the first.

    deals: of several processes each takes whole micro-batches, by turns. Then nothing is gathered, and the sum of their
    gradients is that of the update. Where an update has fewer micro-batches than there are processes, all share each.
    """

    def __init__(self, tokens_at_once: int, accumulation: int) -> None:
        self.tokens_at_once = tokens_at_once
        self.accumulation = accumulation
        self.waiting: list[Waiting] = []
        self.micro_batches: list[MicroBatch] = []

    @property
    def deals(self) -> bool:
        """Whether each process has micro-batches of its own."""
        return 1 < processes() <= self.accumulation

    def is_full_for(self, batch: PackedBatch) -> bool:
        """Whether those that wait have to be encoded before this one is taken in."""
        tokens = sum(len(each.batch.input_ids_T) for each in self.waiting)
        return tokens > 0 and tokens + len(batch.input_ids_T) > self.tokens_at_once

    def add(self, batch: PackedBatch, dims: Sequence[int], divisor: int) -> None:
        """Take in the next micro-batch. Of another process's only the losses will be known."""
        place = len(self.micro_batches)
        self.micro_batches.append(MicroBatch.of(batch, dims, divisor))
        if not self.deals or place % processes() == rank():
            self.waiting.append(Waiting(place, batch, dims))

    def encoded(self, losses: Sequence[NestedLoss]) -> None:
        """Note the losses of all that waited."""
        for each, loss in zip(self.waiting, losses, strict=True):
            self.micro_batches[each.place] = self.micro_batches[each.place].of_loss(loss)
        self.waiting = []

    def close(self) -> list[MicroBatch]:
        """All micro-batches of the update with their losses; another window begins."""
        found, self.micro_batches = self.micro_batches, []
        if not self.deals:
            return found
        values_MV: Tensor = add_up(torch.stack([micro.values_V for micro in found]))
        return [replace(micro, values_V=values_V) for micro, values_V in zip(found, values_MV, strict=True)]
