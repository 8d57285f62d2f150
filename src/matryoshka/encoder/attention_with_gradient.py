"""Attention within buckets of sequences on a CPU, forward and backward written out, with dropout of the weights.

torch's own kernel has no dropout on a CPU, and its gradient is slower than these few products. What is saved for the
gradient: the weights and, with dropout, which of them stayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from matryoshka.encoder.dropout import keep_mask

if TYPE_CHECKING:
    from matryoshka.encoder.packed_attention import Buckets


def attention_with_gradient(
    q: Tensor, k: Tensor, v: Tensor, buckets: Buckets, scaling: float, dropout: float
) -> Tensor:
    """Each sequence's attention over its own tokens; q, k, v and the result are (heads, T, head size)."""
    attended: Tensor = _Attention.apply(q, k, v, buckets, scaling, dropout)  # type: ignore[no-untyped-call]
    return attended


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, buckets: Buckets, scaling: float, dropout: float) -> Tensor:
        saved, attended = [], []
        for bucket in buckets.parts:
            q_NLD, k_NLD, v_NLD = (bucket.of(x).flatten(0, 1) for x in (q, k, v))
            weights_NLL = torch.baddbmm(q_NLD.new_empty(1), q_NLD, k_NLD.mT, beta=0, alpha=scaling)
            if bucket.valid_SL is not None:
                by_sequence = weights_NLL.view(len(q), len(bucket.valid_SL), *weights_NLL.shape[1:])
                by_sequence.masked_fill_(~bucket.valid_SL[:, None], float("-inf"))
            weights_NLL = weights_NLL.softmax(-1)
            kept_NLL, scale = keep_mask(weights_NLL.shape, dropout) if dropout else (None, 1.0)
            stayed_NLL = weights_NLL if kept_NLL is None else weights_NLL * kept_NLL
            out_NLD = torch.bmm(stayed_NLL, v_NLD).mul_(scale)
            saved += [q_NLD, k_NLD, v_NLD, weights_NLL, kept_NLL, out_NLD]
            attended.append(out_NLD)
        ctx.save_for_backward(*saved)
        ctx.buckets, ctx.scaling, ctx.scale = buckets, scaling, scale
        return _in_row(attended, q, buckets)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        gradients: tuple[list[Tensor], ...] = ([], [], [])
        gradient = gradient.contiguous()
        for i, bucket in enumerate(ctx.buckets.parts):
            q_NLD, k_NLD, v_NLD, weights_NLL, kept_NLL, out_NLD = saved[6 * i : 6 * i + 6]
            g_HSLD = bucket.of(gradient)
            if bucket.valid_SL is not None:  # what stands in a place of padding is another token's
                g_HSLD.mul_(bucket.valid_SL[..., None])
            g_NLD = g_HSLD.flatten(0, 1)
            inner_NL1 = (g_NLD * out_NLD).sum(-1, keepdim=True)
            g_NLD.mul_(ctx.scale)
            stayed_NLL = weights_NLL if kept_NLL is None else weights_NLL * kept_NLL
            gradients[2].append(torch.bmm(stayed_NLL.mT, g_NLD))
            scores_NLL = torch.bmm(g_NLD, v_NLD.mT)
            if kept_NLL is not None:
                scores_NLL.mul_(kept_NLL)
            scores_NLL.sub_(inner_NL1).mul_(weights_NLL).mul_(ctx.scaling)
            gradients[0].append(torch.bmm(scores_NLL, k_NLD))
            gradients[1].append(torch.bmm(scores_NLL.mT, q_NLD))
        return *(_in_row(parts, gradient, ctx.buckets) for parts in gradients), None, None, None


def _in_row(parts: list[Tensor], like: Tensor, buckets: Buckets) -> Tensor:
    """The buckets' places back as the row of tokens: (heads, T, D)."""
    heads, _, width = like.shape
    return torch.cat([part.view(heads, -1, width) for part in parts], dim=1).index_select(1, buckets.back_T)
