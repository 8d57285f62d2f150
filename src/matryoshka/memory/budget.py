"""How many tokens an evaluation encodes at once where nothing else is configured."""

from __future__ import annotations

import torch

from matryoshka.encoder.encoder import Encoder
from matryoshka.memory.available import available
from matryoshka.memory.limits import KEEPS
from matryoshka.memory.measured import evaluation_growth

ON_CPU, ON_GPU, LEAST = 4096, 16_384, 256  # tokens
IN_TRAINING = 4  # times the weights: themselves, their gradients, two averages of AdamW


def auto_budget(encoder: Encoder, device: torch.device, *, trains: bool) -> int:
    """4,096 tokens on a CPU; on a GPU 16,384, or a half, a quarter, ... of it that fits the memory that is free.

    Always a power of two: a little more or less free memory changes no batch, on which an embedding's last bits depend.
    trains: whether gradients and the optimizer's averages will lie beside the weights.
    """
    if device.type != "cuda" or (there_is := available(device, encoder)) is None:
        return ON_CPU
    held = sum(p.numel() * p.element_size() for p in encoder.parameters()) * (IN_TRAINING if trains else 1)
    growth, budget = evaluation_growth(encoder), ON_GPU
    while budget > LEAST and held + growth.at(budget, budget * encoder.max_seq_length) > KEEPS * there_is:
        budget //= 2
    return budget
