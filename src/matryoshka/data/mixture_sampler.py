"""Batches of several sources: each of one of them, made by a sampler of its own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain, repeat

import torch

from matryoshka.data.samplers import BatchSummary, ShuffledSampler, repeats
from matryoshka.errors import DataError

MakeSampler = Callable[[Sequence[Sequence[int]]], ShuffledSampler]


class MixtureSampler(ShuffledSampler):
    """The batches of every source as its own sampler makes them, in an order drawn by seed + epoch.

    texts: as of every sampler, the rows of one source after another's. sizes: source -> its rows. weights: source ->
    its share of the batches; none: an epoch has all batches of every source, each row once. With weights an epoch has
    as many batches as it would have without, of each source its share to within one; a source goes on in the next
    epoch where it was, and begins again, in a new order, where it is through.
    Raises DataError where a source would get no batch.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        make: MakeSampler,
        sizes: Mapping[str, int],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        ends = list(accumulate(sizes.values()))
        self.names, self.starts = list(sizes), [0, *ends[:-1]]
        self.samplers = [make(texts[start:end]) for start, end in zip(self.starts, ends, strict=True)]
        super().__init__(texts, self.samplers[0].batch_size, self.samplers[0].seed)
        self._lengths = [[len(self._pass(source, 0))] for source in range(len(sizes))]  # batches of each pass
        every = [lengths[0] for lengths in self._lengths]
        self.quotas = apportioned(sum(every), [weights[name] for name in self.names]) if weights else None
        for name, quota in zip(self.names, self.quotas or every, strict=True):
            if not quota:
                none = f"of {sum(every):,} batches an epoch {name} gets none"
                raise DataError(f"data.weights: {none}; give it a larger weight, or leave it out by ~sources.{name}")

    def source_of(self, row: int) -> str:
        """The name of a row's source."""
        return self.names[bisect_right(self.starts, row) - 1]

    def shares(self) -> dict[str, int]:
        """How many of this epoch's batches each source has."""
        found = dict.fromkeys(self.names, 0)
        for batch in self.batches():
            found[self.source_of(batch[0])] += 1
        return found

    def make_batches(self) -> list[list[int]]:
        """The sources' batches, each source's in its own order, mixed."""
        if self.quotas is None:
            parts = [self._pass(source, self.epoch) for source in range(len(self.names))]
        else:
            parts = [self._stretch(source, self.epoch * quota, quota) for source, quota in enumerate(self.quotas)]
        sources = list(chain.from_iterable(repeat(source, len(part)) for source, part in enumerate(parts)))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(len(sources), generator=generator).tolist()
        streams = [iter(part) for part in parts]
        return [next(streams[sources[place]]) for place in order]

    def _pass(self, source: int, number: int) -> list[list[int]]:
        """All batches of a source in the order of this number."""
        sampler, start = self.samplers[source], self.starts[source]
        sampler.set_epoch(number)
        return [[start + row for row in batch] for batch in sampler.batches()]

    def _stretch(self, source: int, first: int, count: int) -> list[list[int]]:
        """So many of a source's batches from this one on, counted over all its passes."""
        found: list[list[int]] = []
        lengths, start, number = self._lengths[source], 0, 0
        while len(found) < count:
            if number == len(lengths):
                lengths.append(len(self._pass(source, number)))
            if start + lengths[number] > first:
                found += self._pass(source, number)[max(0, first - start) :]
            start, number = start + lengths[number], number + 1
        return found[:count]

    def summary(self) -> BatchSummary:
        """This epoch's batches in numbers; extra: those of one pass over every source."""
        batches = self.batches()
        full = sum(-(-len(sampler.texts) // sampler.batch_size) for sampler in self.samplers)
        return BatchSummary(
            batches=len(batches),
            extra=sum(lengths[0] for lengths in self._lengths) - full,
            of_one_row=sum(len(batch) == 1 for batch in batches),
            sharing=sum(map(bool, self._shared)),
            clashing=sum(repeats(batch, self._shared) for batch in batches),
        )


def apportioned(total: int, weights: Sequence[float]) -> list[int]:
    """`total` shared out by weight in whole numbers: rounded down, and the rest to the largest remainders."""
    exact = [total * weight / sum(weights) for weight in weights]
    found = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: found[i] - exact[i])
    for i in by_remainder[: total - sum(found)]:
        found[i] += 1
    return found
