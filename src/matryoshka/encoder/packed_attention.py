"""Attention within each of many sequences that lie end to end in one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

NAME = "matryoshka_packed"

# Models whose only crossing between tokens is this attention and whose positions can be given.
# The value is the number of the first position, counted from pad_token_id + 1 where it says so.
FIRST_POSITION_AFTER_PAD = {"xlm-roberta": True, "roberta": True, "camembert": True, "bert": False, "electra": False}


@dataclass(frozen=True)
class Buckets:
    """The sequences of a packed row, those of like length together and padded to the longest of them.

    shapes: (sequences, length) of each bucket. places_P: the padded buckets one after another, for every place the
    token of the row that stands there (of a sequence's start where there is only padding). valid_P: which places hold
    a token. back_T: for every token of the row its place.
    """

    shapes: list[tuple[int, int]]
    places_P: Tensor
    valid_P: Tensor
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
        shapes, places, valid = [], [], []
        for group in groups:
            place_L = torch.arange(lengths[group[-1]])
            valid_SL = place_L[None] < length_S[group][:, None]
            shapes.append((len(group), len(place_L)))
            places.append((start_S[group][:, None] + place_L[None] * valid_SL).flatten())
            valid.append(valid_SL.flatten())
        places_P, valid_P = torch.cat(places), torch.cat(valid)
        back_T = torch.empty(sum(lengths), dtype=torch.int64)
        back_T[places_P[valid_P]] = torch.arange(len(places_P))[valid_P]
        return cls(shapes, *(x.to(device, non_blocking=True) for x in (places_P, valid_P, back_T)))


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
    heads, size = query.shape[1], query.shape[3]
    sizes = [sequences * length for sequences, length in buckets.shapes]
    q_parts, k_parts, v_parts = (x[0].index_select(1, buckets.places_P).split(sizes, 1) for x in (query, key, value))
    attended = []
    for shape, valid, q, k, v in zip(
        buckets.shapes, buckets.valid_P.split(sizes), q_parts, k_parts, v_parts, strict=True
    ):
        q, k, v = (x.reshape(heads, *shape, size) for x in (q, k, v))
        mask = valid.view(1, shape[0], 1, shape[1])
        if dropout and query.device.type == "cpu":
            part = _attention_with_dropout(q, k, v, mask, scaling or size**-0.5, dropout)
        else:
            part = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling)
        attended.append(part.reshape(heads, -1, size))
    row = torch.cat(attended, dim=1).index_select(1, buckets.back_T)  # (heads, T, head size)
    return row.transpose(0, 1)[None].contiguous(), None


def _attention_with_dropout(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, dropout: float) -> Tensor:
    # On a CPU, torch's own kernel has no dropout and falls back to a slower form of these same steps.
    scores = (q * scaling) @ k.transpose(-1, -2)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return F.dropout(weights, dropout) @ v


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
