"""How hard negatives are mined: who searches, which ranks count, and what is too similar to be a negative."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from matryoshka.mining.cross_encoder_folder import cross_encoder_problems

SearchBy = Literal["encoder", "bm25", "both"]
Pick = Literal["top", "random"]
DEEPEST = 10_000  # ranks; beyond are no hard negatives


@dataclass(frozen=True)
class Mining:
    """Hard negatives of every training row, from the distinct passages of the training pairs.

    search: by the untrained encoder, by BM25, or by both, fused by reciprocal rank. ranks: the first and the last that
    are taken from, counted among the passages that may be negatives at all. per_row: negatives of a row. pick: the
    highest of these ranks that pass the thresholds, or some of them drawn by the run's seed. relative: a negative is at
    most so similar, as a share of the positive's similarity. absolute: at most so similar. Both are of similarities
    that are rescaled so that random pairs have 0; None: no such threshold. cross_encoder: one by name, whose scores
    replace the encoder's in the thresholds and as teacher scores.
    Source: Moreira et al. 2024, arXiv:2407.15831 (NV-Retriever; `relative` is its TopK-PercPos).
    """

    search: SearchBy = "encoder"
    ranks: Sequence[int] = (1, 50)
    per_row: Annotated[int, Ge(1), Le(100), "3"] = 3
    pick: Pick = "top"
    relative: Annotated[float, Gt(0), Le(1), "0.95, or null for none"] | None = 0.95
    absolute: Annotated[float, Ge(-1), Le(1), "0.8, or null for none"] | None = None
    cross_encoder: str | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        """Ranks that are none or too few; a cross-encoder that cannot be had."""
        if len(self.ranks) != 2:
            yield "ranks", f"{list(self.ranks)} are not two, the first and the last; use for example [1,50]"
        elif not 1 <= self.ranks[0] <= self.ranks[1] <= DEEPEST:
            yield "ranks", f"{list(self.ranks)} do not rise from 1 to {DEEPEST:,} at most; use for example [1,50]"
        elif self.ranks[1] - self.ranks[0] + 1 < self.per_row:
            yield "ranks", f"{list(self.ranks)} are fewer than per_row={self.per_row} negatives; use wider ones"
        if self.cross_encoder is not None:
            yield from (("cross_encoder", message) for message in cross_encoder_problems(self.cross_encoder))

    @property
    def first(self) -> int:
        """The first rank that is taken from."""
        return self.ranks[0]

    @property
    def last(self) -> int:
        """The last rank that is taken from, unless too few pass."""
        return self.ranks[1]

    @property
    def depth(self) -> int:
        """Ranks that are searched: as many again, where too few of the ranks pass."""
        return 2 * self.last

    @property
    def needs_encoder(self) -> bool:
        """Whether embeddings are searched or compared."""
        return self.search != "bm25" or self.cross_encoder is None
