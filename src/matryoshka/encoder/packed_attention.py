"""Attention within each of many sequences that lie end to end in one row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from matryoshka.data.packing import PackedBatch, sent
from matryoshka.encoder.attention_with_gradient import Places, attention_with_gradient
from matryoshka.encoder.varlen_attention import varlen_kernel

log = logging.getLogger(__name__)
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
    _places: dict[int, Places] = field(default_factory=dict, repr=False)

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
        shapes, places, valid = [], [], []
        for group in groups:
            place_L = torch.arange(lengths[group[-1]])
            valid_SL = place_L[None] < length_S[group][:, None]
            shapes.append((len(group), lengths[group[-1]]))
            places.append((start_S[group][:, None] + place_L[None] * valid_SL).flatten())
            valid.append(valid_SL.flatten())
        places_P, valid_P = torch.cat(places), torch.cat(valid)
        back_T = torch.empty(sum(lengths), dtype=torch.int64)
        back_T[places_P[valid_P]] = torch.arange(len(places_P))[valid_P]
        sizes, padded = [rows * length for rows, length in shapes], [not part.all() for part in valid]
        of_parts = zip(
            shapes, sent(places_P, device).split(sizes), sent(valid_P, device).split(sizes), padded, strict=True
        )
        parts = [
            Bucket(shape, part_P, valid_P.view(shape) if pad else None) for shape, part_P, valid_P, pad in of_parts
        ]
        return cls(parts, sent(back_T, device))

    def places(self, heads: int) -> Places:
        """Where the places of every head stand, made once for all layers."""
        if heads not in self._places:
            self._places[heads] = Places(self, heads)
        return self._places[heads]


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a packed row lie, as the attention of every layer is told.

    lengths: of each, on the host. cu_seqlens_Z: where each starts, and the end of the last, on the device.
    """

    lengths: Sequence[int]
    cu_seqlens_Z: Tensor

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.lengths)

    @cached_property
    def buckets(self) -> Buckets:
        """The same sequences in buckets, made when a layer asks first: a variable-length kernel needs none."""
        return Buckets.of(self.lengths, self.cu_seqlens_Z.device)


def attend(qkv_T3HD: Tensor, sequences: Sequences, scaling: float | None = None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention of each sequence over its own tokens, (T, heads, D).

    qkv_T3HD: of every token its query, key and value, the sequences end to end.
    """
    device = qkv_T3HD.device
    if kernel := varlen_kernel(device, qkv_T3HD.dtype, qkv_T3HD.shape[3]):
        q_THD, k_THD, v_THD = qkv_T3HD.unbind(1)
        return kernel(q_THD, k_THD, v_THD, sequences.cu_seqlens_Z, sequences.longest, scaling, dropout)
    if device.type == "cpu" and (qkv_T3HD.requires_grad or dropout):
        return attention_with_gradient(qkv_T3HD, sequences.buckets, scaling or qkv_T3HD.shape[3] ** -0.5, dropout)
    q_HTD, k_HTD, v_HTD = qkv_T3HD.permute(1, 2, 0, 3).contiguous()  # else each bucket's selection would copy all
    return _in_buckets(q_HTD, k_HTD, v_HTD, sequences.buckets, scaling, dropout)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    sequences: Sequences,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """`attend` behind transformers' attention interface, for layers that are not packed_layer's.

    query, key, value: (1, heads, T, head size), the sequences end to end.
    Returns (1, T, heads, head size) and no weights, as that interface asks.
    """
    qkv_T3HD = torch.stack([x[0].transpose(0, 1) for x in (query, key, value)], 1)
    return attend(qkv_T3HD, sequences, scaling, dropout)[None], None


def _in_buckets(
    q_HTD: Tensor, k_HTD: Tensor, v_HTD: Tensor, buckets: Buckets, scaling: float | None, dropout: float
) -> Tensor:
    attended = []
    for bucket in buckets.parts:
        mask = None if bucket.valid_SL is None else bucket.valid_SL[None, :, None]
        part = F.scaled_dot_product_attention(
            bucket.of(q_HTD), bucket.of(k_HTD), bucket.of(v_HTD), attn_mask=mask, dropout_p=dropout, scale=scaling
        )
        attended.append(part.reshape(len(q_HTD), -1, q_HTD.shape[2]))
    row_HTD = torch.cat(attended, dim=1).index_select(1, buckets.back_T)
    return row_HTD.transpose(0, 1).contiguous()


AttentionInterface.register(NAME, packed_attention)


def use_packed_attention(model: PreTrainedModel, name: str = "") -> int | None:
    """Make the model attend within packed sequences; the number of its first position, or None where it can't.

    name: of the model, for the line that says that it can't.
    """
    after_pad = FIRST_POSITION_AFTER_PAD.get(model.config.model_type)
    decoder = getattr(model.config, "is_decoder", False)
    if after_pad is None or decoder:
        kind = "a decoder" if decoder else model.config.model_type
        log.info("%s: sequences are padded, since %s can't be packed", name, kind)
        return None
    model.set_attn_implementation(NAME)
    return int(model.config.pad_token_id) + 1 if after_pad else 0


def positions(batch: PackedBatch, first: int) -> Tensor:
    """The position of each token in its own sequence, (T,), from `first` on, the model's first position.

    RoBERTa's begin behind the number of the pad token; a pad token that a text spells out is passed over, and its own
    position is its number.
    """
    places_T, ids_T = batch.positions_T(), batch.input_ids_T
    if not first:
        return places_T
    pad_id = first - 1
    pad_T = (ids_T == pad_id).long()
    until_T = pad_T.cumsum(0)
    start_T = torch.arange(len(ids_T), device=ids_T.device) - places_T
    passed_T = until_T - (until_T - pad_T)[start_T]  # pad tokens of the same sequence up to here
    return (first + places_T - passed_T).masked_fill(pad_T.bool(), pad_id)
