"""The peak of a run's memory, known before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.memory.measured import EncoderMemory, MakeOptimizer, loss_bytes, optimizer_bytes
from matryoshka.processes.together import from_first, takes_turns


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak of a run.

    held: what stays all the time: weights, the word-embedding table whose rows are set aside, the optimizer's averages.
    optimizer: these averages alone.
    activations: of the largest micro-batch, or part of one. loss: the matrices of similarities.
    gradients: of all weights that are trained. arriving: what is held beside complete gradients, at a micro-batch's end
    or in an update.
    """

    held: float
    gradients: float
    activations: float
    loss: float
    arriving: float
    evaluation: float
    gradients_wait: bool  # while activations are there: they add up over several backward passes
    loss_alone: bool  # without activations, between two encodings of the parts
    optimizer: float = 0.0

    @property
    def in_evaluation(self) -> float:
        """The most that an evaluation needs at once."""
        return self.held + self.evaluation

    @property
    def peak(self) -> float:
        """The most that is needed at once."""
        waiting = self.gradients if self.gradients_wait else 0.0
        encoded = max(self.activations, self.loss) if self.loss_alone else self.activations + self.loss
        in_training = self.held + max(waiting + encoded, self.gradients + self.arriving)
        return max(in_training, self.in_evaluation)


@dataclass(frozen=True)
class MemorySettings:
    """What a run's memory goes by and a user can lower. None: as the batches are."""

    pairs_at_once: int | None = None
    batch_size: int | None = None
    max_seq_length: int | None = None
    token_budget: int = 4096
    tokens_at_once: int = 0


@dataclass(frozen=True)
class RunMemory:
    """What was measured of a run's encoder and optimizer, which gives an estimate for any settings in no time.

    batches: of every micro-batch the lengths of each column's sequences. texts: queries and documents of an evaluation.
    weights, largest, aside: bytes of all parameters that are trained, of the largest, and of the whole word-embedding
    table where only some of its rows are. state, update: what the optimizer keeps and takes, as shares of the weights.
    frozen: bytes of the transformer under an adapter.
    """

    encoder: Encoder
    loss: MatryoshkaLoss
    measured: EncoderMemory
    batches: Sequence[Sequence[Sequence[int]]]
    texts: int
    device: torch.device
    accumulation: int
    masked: bool
    processes: int
    weights: int
    largest: int
    aside: float
    state: float
    update: float
    frozen: int = 0

    def estimate(self, settings: MemorySettings) -> MemoryEstimate:
        """The peak of the run with these settings."""
        batches = list(_cut(self.batches, settings.batch_size, settings.max_seq_length))
        rows, columns, width = max(len(batch[0]) for batch in batches), len(batches[0]), self.encoder.width
        whole = takes_turns(self.accumulation, self.processes)
        share, at_once = rows if whole else -(-rows // self.processes), settings.pairs_at_once
        cached = at_once is not None and at_once < share
        parts = [part for batch in batches for part in _parts(batch, min(at_once or share, share))]
        joined = 1
        if not cached:
            groups = list(_together(parts, self.accumulation, settings.tokens_at_once))
            parts, joined = [[n for part in group for n in part] for group in groups], max(map(len, groups))
        embeddings, longest = 4 * rows * columns * width, settings.max_seq_length or self.encoder.max_seq_length
        of_loss = joined * loss_bytes(self.loss, rows, columns - 1, width, self.masked, cached)
        on_cpu, accumulates = self.device.type == "cpu", cached or self.accumulation > 1
        encoded = min(settings.token_budget, self.texts * longest)
        activations = max(self.measured.training(self.encoder, part) for part in parts)
        return MemoryEstimate(
            held=self.frozen + self.weights * (1 + self.state) + (self.aside if on_cpu else 0.0),
            gradients=self.weights,
            activations=activations + (2 * embeddings if cached else 0),
            loss=of_loss + joined * embeddings,
            arriving=max(
                self.largest if accumulates else 0.0, self.update * (self.largest if on_cpu else self.weights)
            ),
            evaluation=self.measured.evaluation.at(encoded, encoded * longest) + 4 * self.texts * width,
            gradients_wait=accumulates,
            loss_alone=cached,
            optimizer=self.weights * self.state,
        )


def measure_memory(
    encoder: Encoder,
    loss: MatryoshkaLoss,
    make_optimizer: MakeOptimizer,
    batches: Sequence[Sequence[Sequence[int]]],
    *,
    texts: int,
    device: torch.device,
    bf16: bool = False,
    accumulation: int = 1,
    rows_trained: int | None = None,
    masked: bool = False,
    processes: int = 1,
    adapter: int | None = None,
) -> RunMemory:
    """Measure what a run needs beside what Python and its libraries take; of several processes what each needs.

    batches, texts: see RunMemory. device: that of the training. rows_trained: of the word-embedding table, if the
    others are set aside (compact vocabulary). adapter: bytes of one that is trained in the place of the transformer,
    which is not there yet. Takes about a second for a small encoder, which the first of several
    processes measures for all.
    """
    table = encoder.backbone.get_input_embeddings().weight
    assert isinstance(table, nn.Parameter)
    sizes = {p: p.numel() * p.element_size() for p in encoder.parameters()}
    aside = 0.0
    if rows_trained is not None:
        sizes[table], aside = sizes[table] * rows_trained // len(table), float(sizes[table])
    fused = device.type != "cpu"
    measured = from_first(lambda: EncoderMemory.measured(encoder, bf16, fused))  # on all cores, which others need
    frozen = [] if adapter is None else [sizes.pop(weight) for weight in encoder.backbone.parameters()]
    trained = [*sizes.values(), adapter or 0]
    shares = optimizer_bytes(make_optimizer)
    of_run = (batches, texts, device, accumulation, masked, processes)
    return RunMemory(encoder, loss, measured, *of_run, sum(trained), max(trained), aside, *shares, sum(frozen))


def _cut(
    batches: Sequence[Sequence[Sequence[int]]], rows: int | None, tokens: int | None
) -> Iterator[Sequence[Sequence[int]]]:
    """The batches with at most so many rows and so many tokens a sequence."""
    if rows is None and tokens is None:
        yield from batches
        return
    for batch in batches:
        size = rows or len(batch[0])
        for start in range(0, len(batch[0]), size):
            yield [[min(length, tokens or length) for length in column[start : start + size]] for column in batch]


def _together(parts: Sequence[list[int]], accumulation: int, tokens: int) -> Iterator[list[list[int]]]:
    """Micro-batches of an update in groups of up to so many tokens, as training.window encodes them."""
    for start in range(0, len(parts), accumulation):
        waiting: list[list[int]] = []
        for part in parts[start : start + accumulation]:
            if waiting and sum(map(sum, waiting)) + sum(part) > tokens:
                yield waiting
                waiting = []
            waiting = [*waiting, part]
        yield waiting


def _parts(batch: Sequence[Sequence[int]], pairs: int) -> list[list[int]]:
    """Lengths of the sequences that are encoded at once."""
    starts = range(0, len(batch[0]), pairs)
    return [[length for column in batch for length in column[start : start + pairs]] for start in starts]
