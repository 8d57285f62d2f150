"""Attention within buckets of sequences on a CPU, forward and backward written out, with dropout of the weights.

torch's own kernel has no dropout on a CPU, and its gradient is slower than these few products. M counts the places of
all buckets and heads, those of a bucket together, head after head; N counts the sequences of a bucket and its heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from matryoshka.encoder.dropout import keep_mask

if TYPE_CHECKING:
    from matryoshka.encoder.buckets import Buckets


def attention_with_gradient(qkv_T3HD: Tensor, buckets: Buckets, scaling: float, dropout: float) -> Tensor:
    """Each sequence's attention over its own tokens, (T, heads, D), from every token's query, key and value."""
    attended_THD: Tensor = _Attention.apply(qkv_T3HD, buckets, scaling, dropout)  # type: ignore[no-untyped-call]
    return attended_THD


class _Attention(torch.autograd.Function):
    """The weights are saved with a sign: those that dropout takes out are negative, and all are half as large."""

    @staticmethod
    def forward(ctx: Any, qkv_T3HD: Tensor, buckets: Buckets, scaling: float, dropout: float) -> Tensor:
        places = buckets.places(qkv_T3HD.shape[2])
        q_MD, k_MD, v_MD = places.of_three(qkv_T3HD)
        out_MD = torch.empty_like(q_MD)
        ctx.scale, saved = 1.0, []
        parts = places.split(q_MD, k_MD, v_MD, out_MD)
        for bias_N1L, (q_NLD, k_NLD, v_NLD, out_NLD) in zip(places.biases(q_MD.dtype), parts, strict=True):
            scores_NLL = torch.baddbmm(bias_N1L, q_NLD, k_NLD.mT, beta=0 if bias_N1L.dim() == 1 else 1, alpha=scaling)
            weights_NLL = scores_NLL.softmax(-1)
            if dropout:
                kept_NLL, ctx.scale = keep_mask(weights_NLL.shape, dropout, weights_NLL.dtype)
                weights_NLL.mul_(kept_NLL.sub_(0.5))
            torch.bmm(weights_NLL.clamp_min(0) if dropout else weights_NLL, v_NLD, out=out_NLD)
            saved.append(weights_NLL)
        if dropout:
            ctx.scale *= 2
            out_MD.mul_(ctx.scale)
        ctx.save_for_backward(q_MD, k_MD, v_MD, out_MD, *saved)
        ctx.places, ctx.scaling, ctx.dropout = places, scaling, dropout
        return places.in_row(out_MD)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q_MD, k_MD, v_MD, out_MD, *weights = ctx.saved_tensors
        g_MD = ctx.places.of(gradient).mul_(ctx.places.valid_M1)  # what stands in a place of padding is another token's
        inner_M1 = (g_MD * out_MD).sum(1, keepdim=True)
        g_MD.mul_(ctx.scale)
        gradient_PD = q_MD.new_empty(3 * len(q_MD), q_MD.shape[1])
        parts = ctx.places.split(q_MD, k_MD, v_MD, g_MD, inner_M1, *gradient_PD.chunk(3))
        for weights_NLL, (q_NLD, k_NLD, v_NLD, g_NLD, inner_NL1, *(of_q, of_k, of_v)) in zip(
            weights, parts, strict=True
        ):
            stayed_NLL = weights_NLL.clamp_min(0) if ctx.dropout else weights_NLL
            torch.bmm(stayed_NLL.mT, g_NLD, out=of_v)
            scores_NLL = torch.bmm(g_NLD, v_NLD.mT)
            if ctx.dropout:
                scores_NLL.mul_(stayed_NLL).addcmul_(weights_NLL.abs(), inner_NL1, value=-2)
            else:
                scores_NLL.sub_(inner_NL1).mul_(weights_NLL)
            torch.baddbmm(of_q, scores_NLL, k_NLD, beta=0, alpha=ctx.scaling, out=of_q)
            torch.baddbmm(of_k, scores_NLL.mT, q_NLD, beta=0, alpha=ctx.scaling, out=of_k)
        return ctx.places.three_in_row(gradient_PD), None, None, None


class Places:
    """Where the places of all buckets, a head each, stand in a row of (T, heads, D), and back."""

    def __init__(self, buckets: Buckets, heads: int) -> None:
        self.heads = heads
        self.buckets = buckets
        head_H = torch.arange(heads)
        sizes = torch.tensor([len(part.places_P) for part in buckets.parts])
        self.sizes = (sizes * heads).tolist()
        self.index_M = self._index(heads, head_H)
        self.index_3M = torch.cat([self._index(3 * heads, which * heads + head_H) for which in range(3)])
        start_P = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        size_T, start_T = sizes.repeat_interleave(sizes)[buckets.back_T], start_P[buckets.back_T]
        first_T = start_T * heads + buckets.back_T - start_T
        back_T1H = (first_T[:, None] + head_H * size_T[:, None])[:, None]
        self.back_R = back_T1H.flatten()
        self.back_3R = (back_T1H + torch.arange(3)[:, None] * len(self.index_M)).flatten()

    def _index(self, rows: int, row_H: Tensor) -> Tensor:
        """Of every place the row of its token, each token having so many."""
        return torch.cat([(part.places_P * rows + row_H[:, None]).flatten() for part in self.buckets.parts])

    def of_three(self, row_T3HD: Tensor) -> tuple[Tensor, ...]:
        """The three numbers of every token and head in their places, each (M, D)."""
        row_RD = row_T3HD.reshape(-1, row_T3HD.shape[3])
        return row_RD.index_select(0, self.index_3M).chunk(3)

    def three_in_row(self, x_PD: Tensor) -> Tensor:
        """Three times the places, one after another, back as a row: (T, 3, heads, D)."""
        return x_PD.index_select(0, self.back_3R).view(-1, 3, self.heads, x_PD.shape[1])

    def of(self, row_THD: Tensor) -> Tensor:
        """A row's numbers in their places: (M, D)."""
        return row_THD.reshape(-1, row_THD.shape[2]).index_select(0, self.index_M)

    def in_row(self, x_MD: Tensor) -> Tensor:
        """The places back as a row: (T, heads, D)."""
        return x_MD.index_select(0, self.back_R).view(-1, self.heads, x_MD.shape[1])

    def split(self, *of_places: Tensor) -> Iterator[list[Tensor]]:
        """For each bucket its part of every tensor, (N, L, D)."""
        split = [x_MD.split(self.sizes) for x_MD in of_places]
        for part, *pieces in zip(self.buckets.parts, *split, strict=True):
            yield [piece.view(-1, part.shape[1], piece.shape[1]) for piece in pieces]

    @property
    def valid_M1(self) -> Tensor:
        """1 where a token stands, 0 where there is padding."""
        valid = [torch.ones(part.shape) if part.valid_SL is None else part.valid_SL for part in self.buckets.parts]
        return torch.cat([x_SL.to(torch.uint8).flatten().repeat(self.heads) for x_SL in valid])[:, None]

    def biases(self, dtype: torch.dtype) -> Iterator[Tensor]:
        """What each bucket's scores are added to: minus infinity at padding, (N, 1, L); where none is, one not read."""
        for part in self.buckets.parts:
            if part.valid_SL is None:
                yield torch.empty(1, dtype=dtype)
            else:
                bias_SL = torch.zeros(part.shape, dtype=dtype).masked_fill_(~part.valid_SL, float("-inf"))
                yield bias_SL.repeat(self.heads, 1)[:, None]
