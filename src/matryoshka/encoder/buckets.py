"""Sequences that lie end to end in one row, in buckets of like length, and which tokens each token sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from matryoshka.data.packing import sent
from matryoshka.encoder.attention_with_gradient import Places


@dataclass(frozen=True)
class Reach:
    """Which tokens of its sequence a token attends to.

    causal: none behind it. window: those less than so many places away; None: however far.
    """

    causal: bool = False
    window: int | None = None

    def within(self, longest: int) -> Reach:
        """The same for sequences of at most so many tokens, without a window that none of them leaves."""
        return Reach(self.causal) if self.window is not None and self.window >= longest else self

    def seen_LL(self, length: int, device: torch.device) -> Tensor:
        """Whether the token of a row sees that of a column."""
        place_L = torch.arange(length, device=device)
        away_LL = place_L[:, None] - place_L
        seen_LL = away_LL >= 0 if self.causal else torch.ones_like(away_LL, dtype=torch.bool)
        return seen_LL if self.window is None else seen_LL & (away_LL.abs() < self.window)


EVERYWHERE = Reach()


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

    def mask_SLL(self, reach: Reach) -> Tensor | None:
        """Which places the one of a row sees, dimensions of 1 where all are alike; None if each sees all.

        Padding sees padding where it does not see all, since a softmax needs something; it is dropped.
        """
        valid_SL = self.valid_SL
        if reach == EVERYWHERE:
            return None if valid_SL is None else valid_SL[:, None]
        seen_LL = reach.seen_LL(self.shape[1], self.places_P.device)
        return seen_LL[None] if valid_SL is None else seen_LL & (valid_SL[:, :, None] == valid_SL[:, None])


@dataclass(frozen=True)
class Buckets:
    """The sequences of a packed row, those of like length together and padded to the longest of them.

    back_T: for every token of the row its place among those of all buckets, one after another.
    """

    parts: list[Bucket]
    back_T: Tensor
    _places: dict[int, Places] = field(default_factory=dict, repr=False)
    _masks: dict[Reach, list[Tensor | None]] = field(default_factory=dict, repr=False)

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

    def masks(self, reach: Reach) -> list[Tensor | None]:
        """Each bucket's `mask_SLL`, made once for all layers of this reach."""
        if reach not in self._masks:
            self._masks[reach] = [part.mask_SLL(reach) for part in self.parts]
        return self._masks[reach]


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
