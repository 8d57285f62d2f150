"""One vector a text from the hidden states of its tokens, over packed sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch, sent
from matryoshka.errors import UserError

Mode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "last"]


def cls_pooling(hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
    """The hidden state of each sequence's first token: (S, H)."""
    return hidden_TH[lengths_S.cumsum(0) - lengths_S]


def last_pooling(hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
    """The hidden state of each sequence's last token: (S, H)."""
    return hidden_TH[lengths_S.cumsum(0) - 1]


# unsafe: torch would read the lengths back from the device to check that they add up, and they do.
def mean_pooling(hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
    """The mean over each sequence's tokens: (S, H)."""
    return torch.segment_reduce(hidden_TH, "mean", lengths=lengths_S, axis=0, unsafe=True)


def max_pooling(hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
    """The largest value of each feature over each sequence's tokens: (S, H)."""
    return torch.segment_reduce(hidden_TH, "max", lengths=lengths_S, axis=0, unsafe=True)


def mean_sqrt_len_pooling(hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
    """The sum over each sequence's tokens by the square root of their number: (S, H)."""
    return mean_pooling(hidden_TH, lengths_S) * lengths_S.to(hidden_TH.dtype).sqrt()[:, None]


def weighted_mean_pooling(hidden_TH: Tensor, lengths_S: Tensor, before_S: Tensor | None = None) -> Tensor:
    """The mean over each sequence's tokens, each weighted by its place in the sequence, from 1: (S, H).

    before_S: tokens of the sequence in front of these, which are counted and not pooled. Source: Muennighoff 2022,
    arXiv:2202.08904.
    """
    ends_S = lengths_S.cumsum(0)
    first_S = lengths_S - ends_S if before_S is None else lengths_S - ends_S + before_S
    first_T = torch.repeat_interleave(first_S, lengths_S, output_size=len(hidden_TH))
    weights_T1 = (torch.arange(1, len(hidden_TH) + 1, device=first_T.device) + first_T).to(hidden_TH.dtype)[:, None]
    return mean_pooling(hidden_TH * weights_T1, lengths_S) / mean_pooling(weights_T1, lengths_S)


# In the order in which sentence-transformers up to 5 concatenates several modes.
POOLINGS: dict[Mode, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": cls_pooling,
    "max": max_pooling,
    "mean": mean_pooling,
    "mean_sqrt_len_tokens": mean_sqrt_len_pooling,
    "weightedmean": weighted_mean_pooling,
    "last": last_pooling,
}


class Pooling(nn.Module):
    """One or several poolings side by side; several make the embedding that many times as wide.

    modes: any of cls, max, mean, mean_sqrt_len_tokens, weightedmean, last; concatenated in the order given, as
    sentence-transformers 6 does. include_prompt: whether the tokens of a prompt in front of a text are pooled too, with
    the special tokens before it. Raises ValueError for no mode, for one given twice and for an unknown one.
    """

    def __init__(self, modes: Sequence[Mode] = ("cls",), include_prompt: bool = True) -> None:
        super().__init__()
        unknown = [mode for mode in modes if mode not in POOLINGS]
        if unknown or not modes or len(set(modes)) < len(modes):
            raise ValueError(f"pooling modes {list(modes)}: give each of {', '.join(POOLINGS)} at most once")
        self.modes: list[Mode] = list(modes)
        self.include_prompt = include_prompt

    @property
    def factor(self) -> int:
        """How many times as wide as the hidden states the embedding is."""
        return len(self.modes)

    def forward(self, hidden_TH: Tensor, lengths_S: Tensor, before_S: Tensor | None = None) -> Tensor:
        """Hidden states of packed sequences to one vector each: (S, H * number of modes).

        before_S: tokens in front of each sequence's that are left out.
        """
        pooled = [
            weighted_mean_pooling(hidden_TH, lengths_S, before_S)
            if mode == "weightedmean"
            else POOLINGS[mode](hidden_TH, lengths_S)
            for mode in self.modes
        ]
        return torch.cat(pooled, dim=-1)


def pool(pooling: nn.Module, hidden_TH: Tensor, batch: PackedBatch) -> Tensor:
    """What a pooling gives for a batch; one with include_prompt=False sees no token of a prompt.

    Raises ValueError where the batch does not say how long its prompts are, UserError for a text of nothing else.
    """
    if includes_prompt(pooling):
        return cast(Tensor, pooling(hidden_TH, batch.lengths_S))
    if len(batch.prompts) < len(batch.lengths):
        raise ValueError("the pooling leaves the prompt out, and the batch does not say how many tokens that has")
    before_S, lengths_S = np.array(batch.prompts), np.array(batch.lengths)
    left_S = lengths_S - before_S
    if (left_S < 1).any():
        raise UserError("a text has no tokens behind its prompt, which the pooling leaves out; remove empty texts")
    # On the host, where all lengths are known: to choose by a mask on a GPU, the host would wait for it.
    shift_S = lengths_S.cumsum() - left_S.cumsum()
    places_R = torch.from_numpy(np.repeat(shift_S, left_S) + np.arange(left_S.sum()))
    device = hidden_TH.device
    behind_RH, *rest = hidden_TH[sent(places_R, device)], sent(torch.from_numpy(left_S), device)
    return cast(Tensor, pooling(behind_RH, *rest, sent(torch.from_numpy(before_S), device)))


def described(pooling: nn.Module) -> str:
    """A pooling in words: `cls + mean`, `mean without the prompt`."""
    modes = " + ".join(getattr(pooling, "modes", [type(pooling).__name__]))
    return modes if includes_prompt(pooling) else f"{modes} without the prompt"


def includes_prompt(pooling: nn.Module) -> bool:
    """Whether the tokens of a prompt are pooled too, as by any pooling that does not say otherwise."""
    return bool(getattr(pooling, "include_prompt", True))
