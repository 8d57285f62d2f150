"""Cosine similarities of embeddings at nested dims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from matryoshka.data.packing import sent

EPSILON = 1e-12  # the smallest length a vector is divided by, as in torch's normalize


def nested_similarities(rows_BD: Tensor, candidates_ND: Tensor, dims: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """(dim, cosine similarities (B, N) of the first dim numbers), narrowest dim first.

    The products of nested dims are running sums of the blocks between consecutive dims, so all dims together
    cost what the widest costs alone. Computed in fp32 with autocast off: under bf16 a separated batch has no gradient.
    """
    with torch.autocast(rows_BD.device.type, enabled=False):
        rows_BD, candidates_ND = _at_least_fp32(rows_BD), _at_least_fp32(candidates_ND)
        start = 0
        products_BN = rows_BD.new_zeros(len(rows_BD), len(candidates_ND))
        squares_B, squares_N = rows_BD.new_zeros(len(rows_BD)), rows_BD.new_zeros(len(candidates_ND))
        for dim in sorted(dims):
            rows_Bd, candidates_Nd = rows_BD[:, start:dim], candidates_ND[:, start:dim]
            products_BN = products_BN + rows_Bd @ candidates_Nd.T
            squares_B = squares_B + rows_Bd.square().sum(1)
            squares_N = squares_N + candidates_Nd.square().sum(1)
            lengths_B = squares_B.clamp_min(EPSILON**2).sqrt()
            lengths_N = squares_N.clamp_min(EPSILON**2).sqrt()
            yield dim, products_BN / lengths_B[:, None] / lengths_N[None, :]
            start = dim


def stacked_similarities(rows_BD: Tensor, candidates_ND: Tensor, dims: Sequence[int]) -> Tensor:
    """Cosine similarities (K, B, N) of the first numbers of K dims: what nested_similarities gives, in a few calls.

    One product of the rows, once for each dim with zeros beyond it; for matrices as small as a batch's.
    """
    with torch.autocast(rows_BD.device.type, enabled=False):
        rows_BD, candidates_ND = _at_least_fp32(rows_BD), _at_least_fp32(candidates_ND)
        within_KD = _within(tuple(dims), rows_BD.shape[1], rows_BD.dtype, rows_BD.device)
        products_KBN = ((rows_BD * within_KD[:, None]).flatten(0, 1) @ candidates_ND.T).unflatten(0, (len(dims), -1))
        lengths_KB, lengths_KN = (
            (within_KD @ x_SD.square().T).clamp_min(EPSILON**2).sqrt() for x_SD in (rows_BD, candidates_ND)
        )
        similarities_KBN: Tensor = products_KBN / lengths_KB[:, :, None] / lengths_KN[:, None]
        return similarities_KBN


@lru_cache(maxsize=64)
def _within(dims: tuple[int, ...], width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 at the numbers that belong to a dim, else 0: (K, D). Kept, so that a step need not send it to the device.

    Of dims that are drawn anew each time (cuts) only the last ones are.
    """
    with torch.inference_mode(False):
        return sent(torch.stack([torch.arange(width) < dim for dim in dims]).to(dtype), device)


def similarities_at(rows_BD: Tensor, candidates_ND: Tensor, dim: int) -> Tensor:
    """Cosine similarities (B, N) of the first dim numbers by a product of their own.

    It keeps no matrix of this size for the gradient, where the running sums of nested_similarities keep two a dim.
    """
    rows_Bd, candidates_Nd = _at_least_fp32(rows_BD[:, :dim]), _at_least_fp32(candidates_ND[:, :dim])
    return F.normalize(rows_Bd, dim=1, eps=EPSILON) @ F.normalize(candidates_Nd, dim=1, eps=EPSILON).T


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
