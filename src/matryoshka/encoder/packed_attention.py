"""Attention within each of many sequences that lie end to end in one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from matryoshka.encoder.attention_with_gradient import attention_with_gradient

NAME = "matryoshka_packed"

# Models whose only crossing between tokens is this attention and whose positions can be given.
# The value is the number of the first position, counted from pad_token_id + 1 where it says so.
FIRST_POSITION_AFTER_PAD = {"xlm-roberta": True, "roberta": True, "camembert": True, "bert": False, "electra": False}


@dataclass(frozen=True)
class Bucket:
    """Sequences of like length, padded to the longest.

    shape: (sequences, length). places_P: for every place the token of the row that stands there (of a sequence's start
    where there is only padding), sequence after sequence. valid_SL: which places hold a token; None if all do.
    """

    shape: tuple[int, int]
    places_P: Tensor
    valid_SL: Tensor | None

    @classmethod
    def on(cls, device: torch.device, places_SL: Tensor, valid_SL: Tensor | None) -> Bucket:
        """A bucket with its indices on the device."""
        rows, length = places_SL.shape
        valid_SL = None if valid_SL is None else valid_SL.to(device, non_blocking=True)
        return cls((rows, length), places_SL.flatten().to(device, non_blocking=True), valid_SL)

    def of(self, x: Tensor) -> Tensor:
        """What stands in the places: (heads, T, D) to (heads, sequences, length, D)."""
        return x.index_select(1, self.places_P).view(x.shape[0], *self.shape, x.shape[2])


@dataclass(frozen=True)
class Buckets:
    """The sequences of a packed row, those of like length together and padded to the longest of them.

    back_T: for every token of the row its place among those of all buckets, one after another.
    """

    parts: list[Bucket]
    back_T: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device, growth: float = 1.25) -> Buckets:
        """Sort by length; a bucket ends where a sequence is more than about `growth` times as long as its shortest."""
        groups: list[list[int]] = []
        for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            if not groups or lengths[i] > growth * lengths[groups[-1][0]] + 2:
                groups.append([])
            groups[-1].append(i)
        length_S = torch.tensor(lengths)
        start_S = length_S.cumsum(0) - length_S
        parts, places, valid = [], [], []
        for group in groups:
            place_L = torch.arange(lengths[group[-1]])
            valid_SL = place_L[None] < length_S[group][:, None]
            places_SL = start_S[group][:, None] + place_L[None] * valid_SL
            padded = lengths[group[0]] < lengths[group[-1]]
            parts.append(Bucket.on(device, places_SL, valid_SL if padded else None))
            places.append(places_SL.flatten())
            valid.append(valid_SL.flatten())
        places_P, valid_P = torch.cat(places), torch.cat(valid)
        back_T = torch.empty(sum(lengths), dtype=torch.int64)
        back_T[places_P[valid_P]] = torch.arange(len(places_P))[valid_P]
        return cls(parts, back_T.to(device, non_blocking=True))


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    buckets: Buckets,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention of each sequence over its own tokens.

    query, key, value: (1, heads, T, head size), the sequences end to end.
    Returns (1, T, heads, head size) and no weights, as transformers' attention interface asks.
    """
    q, k, v = (x[0].contiguous() for x in (query, key, value))  # else each bucket's selection would copy all of it
    if q.device.type == "cpu" and (q.requires_grad or dropout):
        row = attention_with_gradient(q, k, v, buckets, scaling or q.shape[2] ** -0.5, dropout)
    else:
        row = _attention(q, k, v, buckets, scaling, dropout)
    return row.transpose(0, 1)[None].contiguous(), None


def _attention(q: Tensor, k: Tensor, v: Tensor, buckets: Buckets, scaling: float | None, dropout: float) -> Tensor:
    attended = []
    for bucket in buckets.parts:
        mask = None if bucket.valid_SL is None else bucket.valid_SL[None, :, None]
        part = F.scaled_dot_product_attention(
            bucket.of(q), bucket.of(k), bucket.of(v), attn_mask=mask, dropout_p=dropout, scale=scaling
        )
        attended.append(part.reshape(len(q), -1, q.shape[2]))
    return torch.cat(attended, dim=1).index_select(1, buckets.back_T)  # (heads, T, head size)


AttentionInterface.register(NAME, packed_attention)


def use_packed_attention(model: PreTrainedModel) -> int | None:
    """Make the model attend within packed sequences; the number of its first position, or None where it can't."""
    after_pad = FIRST_POSITION_AFTER_PAD.get(model.config.model_type)
    if after_pad is None or getattr(model.config, "is_decoder", False):
        return None
    model.set_attn_implementation(NAME)
    return int(model.config.pad_token_id) + 1 if after_pad else 0


def positions_after_pad(ids_T: Tensor, places_T: Tensor, pad_id: int) -> Tensor:
    """RoBERTa's positions: from pad_id + 1 on in each sequence; a pad token that a text spells out is passed over.

    places_T: the place of each token in its own sequence, from 0. A pad token's own position is pad_id.
    """
    pad_T = (ids_T == pad_id).long()
    until_T = pad_T.cumsum(0)
    start_T = torch.arange(len(ids_T), device=ids_T.device) - places_T
    passed_T = until_T - (until_T - pad_T)[start_T]  # pad tokens of the same sequence up to here
    return (pad_id + 1 + places_T - passed_T).masked_fill(pad_T.bool(), pad_id)
