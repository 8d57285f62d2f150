"""One vector a text from the hidden states of its tokens, over packed sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Mode = Literal["cls", "max", "mean", "last"]


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


# In the order in which sentence-transformers concatenates several modes.
POOLINGS: dict[Mode, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": cls_pooling,
    "max": max_pooling,
    "mean": mean_pooling,
    "last": last_pooling,
}


class Pooling(nn.Module):
    """One or several poolings side by side; several make the embedding that many times as wide.

    modes: any of cls, max, mean, last; concatenated in this order whatever the order given, as
    sentence-transformers does. Raises ValueError for none, for a mode given twice and for an unknown one.
    """

    def __init__(self, modes: Sequence[Mode] = ("cls",)) -> None:
        super().__init__()
        unknown = [mode for mode in modes if mode not in POOLINGS]
        if unknown or not modes or len(set(modes)) < len(modes):
            raise ValueError(f"pooling modes {list(modes)}: give each of {', '.join(POOLINGS)} at most once")
        self.modes: list[Mode] = [mode for mode in POOLINGS if mode in modes]

    @property
    def factor(self) -> int:
        """How many times as wide as the hidden states the embedding is."""
        return len(self.modes)

    def forward(self, hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
        """Hidden states of packed sequences to one vector each: (S, H * number of modes)."""
        return torch.cat([POOLINGS[mode](hidden_TH, lengths_S) for mode in self.modes], dim=-1)
