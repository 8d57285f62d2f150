"""Floating-point operations of an encoder's products, counted, so that a run's time can be told before it starts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from matryoshka.encoder.encoder import Encoder
from matryoshka.memory.measured import SMALL_BATCHES, Growth, some_tokens

PASSES = 3  # forward, and in the backward pass the gradient of the input and that of the weight
# Dense bf16 products, 10^12 a second, by the vendors' datasheets; of those without such units fp16 with fp32 sums.
GPUS = {"H200 or H100": 989, "A100": 312, "L40S": 362, "RTX 4090": 165, "L4": 121, "T4": 65}
USUAL_SHARE = 0.4  # of that rate, which a training reaches that has no need to wait


@dataclass(frozen=True)
class Operations:
    """What encoding for training takes: operations by tokens and by squared lengths."""

    growth: Growth

    @classmethod
    def counted(cls, encoder: Encoder) -> Operations:
        """On three small batches, which tell what goes with tokens and what with their squares from each other."""
        training = encoder.training
        encoder.eval()
        counts = []
        for lengths in SMALL_BATCHES:
            # With a gradient: the attention of an evaluation is one operation, which is not counted on every device.
            with FlopCounterMode(display=False) as counter, torch.enable_grad():
                encoder(some_tokens(encoder, lengths))
            counts.append(float(counter.get_total_flops()))
        encoder.train(training)
        return cls(Growth.of(counts))

    def of_training(self, lengths: Iterable[int]) -> float:
        """Operations of a training pass over sequences of these lengths, without what is computed twice."""
        every = list(lengths)
        return PASSES * self.growth.at(sum(every), sum(length**2 for length in every))


def seconds_on(operations: float, share: float = USUAL_SHARE) -> dict[str, float]:
    """Seconds by GPU, at this share of its rate: the model's operations that a second makes (MFU)."""
    return {name: operations / (rate * 1e12 * share) for name, rate in GPUS.items()}


def of_run(encoder: Encoder, batches: Sequence[Sequence[Sequence[int]]], micro_batches: int) -> float:
    """Operations of a training of so many micro-batches.

    batches: of each micro-batch of one epoch the lengths of each column's sequences.
    """
    of_epoch = Operations.counted(encoder).of_training(n for batch in batches for column in batch for n in column)
    return of_epoch * micro_batches / len(batches)


def measured_rate(device: torch.device, dtype: torch.dtype = torch.bfloat16, size: int = 4096) -> float:
    """Operations a second of products of this size on a GPU."""
    own = torch.Generator(device)  # else the training's dropout would be another one
    a, b = (torch.randn(size, size, device=device, dtype=dtype, generator=own) for _ in range(2))
    for repeats in (2, 10):  # the first ones set things up
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            a @ b
        torch.cuda.synchronize(device)
        seconds = (time.perf_counter() - start) / repeats
    return 2.0 * size**3 / seconds
