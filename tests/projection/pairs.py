"""Vectors of pairs whose answers vary together in a few directions, beside noise."""

from __future__ import annotations

import torch

from matryoshka.projection.pair_vectors import PairVectors


def planted(pairs: int = 200, width: int = 16, seed: int = 0) -> PairVectors:
    """Anchors and positives that share four directions, turned so that no coordinate is one of them."""
    generator = torch.Generator().manual_seed(seed)
    shared_N4 = torch.randn(pairs, 4, generator=generator)
    turn_DD = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    sides = []
    for _ in range(2):
        noise_ND = 0.6 * torch.randn(pairs, width, generator=generator)
        noise_ND[:, -4:] += shared_N4
        sides.append(noise_ND @ turn_DD + 0.3)
    rows_N = torch.arange(pairs)
    return PairVectors(*sides, rows_N, rows_N)
