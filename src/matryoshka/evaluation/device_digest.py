"""A hash of a tensor, computed where the tensor is: weights of a GPU need not come to the host to be compared."""

from __future__ import annotations

import torch
from torch import Tensor

WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  # by the bytes of a number; of larger ones int64
PIECE = 1 << 22  # words at once: some temporaries of 32 MB
# SplitMix64: a step from one place to the next, and the finaliser that mixes a word with its place. Steele, Lea and
# Flood 2014, doi:10.1145/2660193.2660195.
STEP = 0x9E3779B97F4A7C15
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31


@torch.no_grad()
def device_digest(values: Tensor) -> Tensor:
    """A number of 64 bits of a tensor's bits and their order: int64, (), on the tensor's device, which is not read.

    Each word is mixed with its place, one to one, so that no change of a single word is missed; the results are added
    modulo 2^64, where any order of addition, and any device, gives the same. Of two tensors with several differences
    one pair in 2^64 is equal by chance. Nothing here guards against an attacker.
    """
    flat = values.detach().contiguous().reshape(-1)
    words_W = flat.view(WORDS.get(flat.element_size(), torch.int64))
    total = torch.zeros((), dtype=torch.int64, device=values.device)
    for start in range(0, len(words_W), PIECE):
        piece_P = words_W[start : start + PIECE].long()
        places_P = torch.arange(start + 1, start + 1 + len(piece_P), device=values.device)
        total += _mixed(piece_P + places_P * _signed(STEP)).sum()
    return total


def _mixed(x_P: Tensor) -> Tensor:
    for bits, odd in MIXING:
        x_P = (x_P ^ _shifted(x_P, bits)) * _signed(odd)
    return x_P ^ _shifted(x_P, LAST_SHIFT)


def _shifted(x_P: Tensor, bits: int) -> Tensor:
    """Shifted right as if without a sign."""
    return (x_P >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """The int64 of the same 64 bits."""
    return number - (1 << 64) if number >> 63 else number
