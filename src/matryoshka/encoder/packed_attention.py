"""Attention within each of many sequences that lie end to end in one row."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from matryoshka.encoder.attention_with_gradient import attention_with_gradient
from matryoshka.encoder.buckets import EVERYWHERE, Buckets, Reach, Sequences
from matryoshka.encoder.varlen_attention import varlen_kernel

NAME = "matryoshka_packed"


def attend(
    qkv_T3HD: Tensor,
    sequences: Sequences,
    scaling: float | None = None,
    dropout: float = 0.0,
    reach: Reach = EVERYWHERE,
    bias_HLL: Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention of each sequence over its own tokens, (T, heads, D).

    qkv_T3HD: of every token its query, key and value, the sequences end to end. bias_HLL: what is added to the scores,
    by the places of query and key in their sequence, for the longest.
    """
    device, reach = qkv_T3HD.device, reach.within(sequences.longest)
    plain = reach == EVERYWHERE and bias_HLL is None
    if bias_HLL is None and (
        kernel := varlen_kernel(device, qkv_T3HD.dtype, qkv_T3HD.shape[3], reach.window is not None)
    ):
        q_THD, k_THD, v_THD = qkv_T3HD.unbind(1)
        seen: dict[str, Any] = {"causal": True} if reach.causal else {}
        seen |= {} if reach.window is None else {"window": reach.window}
        return kernel(q_THD, k_THD, v_THD, sequences.cu_seqlens_Z, sequences.longest, scaling, dropout, **seen)
    if plain and device.type == "cpu" and (qkv_T3HD.requires_grad or dropout):
        return attention_with_gradient(qkv_T3HD, sequences.buckets, scaling or qkv_T3HD.shape[3] ** -0.5, dropout)
    q_HTD, k_HTD, v_HTD = qkv_T3HD.permute(1, 2, 0, 3).contiguous()  # else each bucket's selection would copy all
    return _in_buckets(q_HTD, k_HTD, v_HTD, sequences.buckets, scaling, dropout, reach, bias_HLL)


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
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """`attend` behind transformers' attention interface, for layers that are not packed_layer's.

    query, key, value: (1, heads, T, head size), the sequences end to end; keys and values may have fewer heads, each
    for as many queries. module: says whether it is causal. sliding_window: see Reach.
    Returns (1, T, heads, head size) and no weights, as that interface asks.
    """
    causal = getattr(module, "is_causal", False)
    if causal and not getattr(module.config, "is_causal", True):  # as configured, and the mask takes the edge in
        causal, sliding_window = False, sliding_window and sliding_window + 1
    dtype = product_dtype(query.device, query.dtype)  # a norm behind a product gives fp32 whatever autocast says
    groups = query.shape[1] // key.shape[1]
    key, value = (x if groups == 1 else x.repeat_interleave(groups, 1) for x in (key, value))
    qkv_T3HD = torch.stack([x[0].transpose(0, 1).to(dtype) for x in (query, key, value)], 1)
    return attend(qkv_T3HD, sequences, scaling, dropout, Reach(causal, sliding_window))[None], None


def product_dtype(device: torch.device, otherwise: torch.dtype) -> torch.dtype:
    """In what a product is computed: as autocast says."""
    autocast = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if autocast else otherwise


def _in_buckets(
    q_HTD: Tensor,
    k_HTD: Tensor,
    v_HTD: Tensor,
    buckets: Buckets,
    scaling: float | None,
    dropout: float,
    reach: Reach,
    bias_HLL: Tensor | None,
) -> Tensor:
    attended = []
    causal = reach == Reach(causal=True) and bias_HLL is None  # padding is behind all tokens, so none of them sees it
    masks = [None] * len(buckets.parts) if causal else buckets.masks(reach)
    for bucket, mask_SLL in zip(buckets.parts, masks, strict=True):
        mask = None if mask_SLL is None else mask_SLL[None]
        if bias_HLL is not None:
            length = bucket.shape[1]
            bias_H1LL = bias_HLL[:, None, :length, :length].to(q_HTD.dtype)
            mask = bias_H1LL if mask is None else bias_H1LL.masked_fill(~mask, -torch.inf)
        q_HSLD, k_HSLD, v_HSLD = (bucket.of(x_HTD) for x_HTD in (q_HTD, k_HTD, v_HTD))
        part = F.scaled_dot_product_attention(
            q_HSLD, k_HSLD, v_HSLD, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scaling
        )
        attended.append(part.reshape(len(q_HTD), -1, q_HTD.shape[2]))
    row_HTD = torch.cat(attended, dim=1).index_select(1, buckets.back_T)
    return row_HTD.transpose(0, 1).contiguous()


AttentionInterface.register(NAME, packed_attention)
