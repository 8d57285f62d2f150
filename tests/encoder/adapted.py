"""An encoder with an adapter whose weights are no zeros."""

from __future__ import annotations

import torch

from matryoshka.encoder import Encoder
from matryoshka.encoder.adapter import Lora


def with_adapter(encoder: Encoder, lora: Lora | None = None) -> Encoder:
    """The same encoder with the adapter put in, B drawn as A is."""
    (lora or Lora(rank=3, alpha=6)).put_into(encoder, seed=5)
    own = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if ".lora_B." in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=own))
    return encoder
