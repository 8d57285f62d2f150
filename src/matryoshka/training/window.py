"""The micro-batches of an update as they come: which wait to be encoded together, and what came of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.processes.together import add_up, largest_share, processes, rank, takes_turns
from matryoshka.training.log_rows import MicroBatch


@dataclass(frozen=True)
class Waiting:
    """A micro-batch that is yet to be encoded. place: its number in its window. cuts: the dims that count in its loss,
    each with its cut."""

    place: int
    batch: PackedBatch
    cuts: Mapping[int, int]


class Window:
    """The micro-batches of an update, and how much of them is encoded at a time.

    tokens_at_once: those that wait for each other have no more, but the first. pairs_at_once: of each micro-batch so
    many pairs at a time (see accumulation). shares: of each dim in the gradient of the first
    one, where they are logged and this process has it.
    """

    def __init__(self, accumulation: int, tokens_at_once: int = 0, pairs_at_once: int | None = None) -> None:
        self.accumulation, self.tokens_at_once, self.pairs_at_once = accumulation, tokens_at_once, pairs_at_once
        self.waiting: list[Waiting] = []
        self.micro_batches: list[MicroBatch] = []
        self.shares: Mapping[int, Tensor] = {}

    @property
    def deals(self) -> bool:
        """Whether, of several processes, each takes whole micro-batches, by turns.

        Then nothing is gathered, and the sum of their gradients is that of the update.
        """
        return takes_turns(self.accumulation, processes())

    @property
    def shared(self) -> bool:
        """Whether all processes share each micro-batch: an update has fewer of them than there are processes."""
        return processes() > 1 and not self.deals

    @property
    def splits(self) -> bool:
        """Whether a micro-batch that waits is encoded part by part."""
        rows = max(each.batch.columns[0] for each in self.waiting)
        return self.pairs_at_once is not None and self.pairs_at_once < (largest_share(rows) if self.shared else rows)

    def is_full_for(self, batch: PackedBatch) -> bool:
        """Whether those that wait have to be encoded before this one is taken in."""
        tokens = sum(len(each.batch.input_ids_T) for each in self.waiting)
        return tokens > 0 and tokens + len(batch.input_ids_T) > self.tokens_at_once

    def add(self, batch: PackedBatch, cuts: Mapping[int, int], divisor: int) -> None:
        """Take in the next micro-batch. Of another process's only the losses will be known."""
        place = len(self.micro_batches)
        self.micro_batches.append(MicroBatch.of(batch, list(cuts), divisor))
        if not self.deals or place % processes() == rank():
            self.waiting.append(Waiting(place, batch, cuts))

    def encoded(self, losses: Sequence[NestedLoss]) -> None:
        """Note the losses of all that waited."""
        for each, loss in zip(self.waiting, losses, strict=True):
            self.micro_batches[each.place] = self.micro_batches[each.place].of_loss(loss)
        self.waiting = []

    def close(self) -> tuple[list[MicroBatch], Mapping[int, Tensor]]:
        """All micro-batches of the update with their losses, and the shares; another window begins."""
        found, shares, self.micro_batches, self.shares = self.micro_batches, self.shares, [], {}
        if self.deals:
            values_MV: Tensor = add_up(torch.stack([micro.values_V for micro in found]))
            found = [replace(micro, values_V=values_V) for micro, values_V in zip(found, values_MV, strict=True)]
        return found, shares
