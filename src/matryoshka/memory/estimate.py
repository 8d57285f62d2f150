"""The peak of a run's memory, known before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.memory.measured import EncoderMemory, MakeOptimizer, loss_bytes, optimizer_bytes


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak of a run.

    held: what stays all the time: weights, the word-embedding table whose rows are set aside, the optimizer's averages.
    optimizer: these averages alone.
    activations: of the largest micro-batch, or part of one. loss: the matrices of similarities.
    gradients: of all weights. arriving: what is held beside complete gradients, at a micro-batch's end or in an update.
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
    def peak(self) -> float:
        """The most that is needed at once."""
        waiting = self.gradients if self.gradients_wait else 0.0
        encoded = max(self.activations, self.loss) if self.loss_alone else self.activations + self.loss
        return self.held + max(waiting + encoded, self.gradients + self.arriving, self.evaluation)


def estimate_memory(
    encoder: Encoder,
    loss: MatryoshkaLoss,
    make_optimizer: MakeOptimizer,
    batches: Sequence[Sequence[Sequence[int]]],
    *,
    texts: int,
    device: torch.device,
    bf16: bool = False,
    accumulation: int = 1,
    pairs_at_once: int | None = None,
    rows_trained: int | None = None,
    masked: bool = False,
    token_budget: int = 4096,
    processes: int = 1,
) -> MemoryEstimate:
    """The peak of a run, beside what Python and its libraries take; of several processes that of each.

    batches: of every micro-batch the lengths of each column's sequences. texts: queries and documents of an evaluation.
    device: that of the training. rows_trained: of the word-embedding table, if the others are set aside (compact
    vocabulary). token_budget: tokens encoded at once in an evaluation. Takes about a second for a small encoder.
    """
    rows = max(len(batch[0]) for batch in batches)
    columns = len(batches[0])
    share = -(-rows // processes)
    cached = pairs_at_once is not None and pairs_at_once < share
    measured = EncoderMemory.measured(encoder, bf16, fused_attention=device.type != "cpu")
    parts = [part for batch in batches for part in _parts(batch, min(pairs_at_once or share, share))]
    embeddings = 4 * rows * columns * encoder.width
    table = encoder.backbone.get_input_embeddings().weight
    assert isinstance(table, nn.Parameter)
    sizes = {p: p.numel() * p.element_size() for p in encoder.parameters()}
    aside = 0.0
    if rows_trained is not None:
        sizes[table], aside = sizes[table] * rows_trained // len(table), float(sizes[table])
    weights, largest = sum(sizes.values()), max(sizes.values())
    state, update = optimizer_bytes(make_optimizer)
    on_cpu, accumulates = device.type == "cpu", cached or accumulation > 1
    longest = encoder.max_seq_length
    encoded = min(token_budget, texts * longest)
    return MemoryEstimate(
        held=weights * (1 + state) + (aside if on_cpu else 0.0),
        gradients=weights,
        activations=max(measured.training(encoder, part) for part in parts) + (2 * embeddings if cached else 0),
        loss=loss_bytes(loss, rows, columns - 1, encoder.width, masked, cached) + (embeddings if cached else 0),
        arriving=max(largest if accumulates else 0.0, update * (largest if on_cpu else weights)),
        evaluation=measured.evaluation.at(encoded, encoded * longest) + 4 * texts * encoder.width,
        gradients_wait=accumulates,
        loss_alone=cached,
        optimizer=weights * state,
    )


def _parts(batch: Sequence[Sequence[int]], pairs: int) -> list[list[int]]:
    """Lengths of the sequences that are encoded at once."""
    starts = range(0, len(batch[0]), pairs)
    return [[length for column in batch for length in column[start : start + pairs]] for start in starts]
