"""Texts that are encoded together: their embeddings are kept, and found again, together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import xxhash
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds


@dataclass(frozen=True)
class TextBatch:
    """Texts that are encoded together, and where their embeddings go."""

    ids: TokenIds
    texts: list[int]
    values_ND: Tensor

    @cached_property
    def tokens(self) -> int:
        """Tokens of all its texts."""
        return sum(map(len, self.lists()))

    def lists(self) -> list[list[int]]:
        """The token ids of each text."""
        return [self.ids[text] for text in self.texts]

    def packed(self) -> PackedBatch:
        """What the encoder gets."""
        return PackedBatch.of_texts(self.ids, self.texts)

    def key(self, fingerprint: str | None) -> str:
        """The name under which its embeddings are kept. fingerprint: of the encoder."""
        return xxhash.xxh3_128(repr((fingerprint, self.ids.prompt, self.lists())).encode()).hexdigest()
