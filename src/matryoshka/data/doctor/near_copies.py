"""Texts that nearly are copies: most of their runs of three words are the same. Found by MinHash, then compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import xxhash

from matryoshka.data.copies import normalised
from matryoshka.data.doctor.doctor import MISSING
from matryoshka.errors import UserError

if TYPE_CHECKING:
    from datasketch import MinHash

WORDS = 3  # in a shingle
PERMUTATIONS = 128
# Candidates are compared anyway: a missed one costs more than one too many.
FALSE_POSITIVE, FALSE_NEGATIVE = 0.1, 0.9

Shingles = frozenset[str]
Signature = Callable[[str], "tuple[Shingles, MinHash]"]


def shingles(text: str) -> Shingles:
    """Every run of three words of a text, normalised; of a shorter one the whole."""
    words = normalised(text).split()
    return frozenset(" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1)))


def jaccard(a: Shingles, b: Shingles) -> float:
    """The share of all shingles that both have."""
    return len(a & b) / len(a | b)


def signatures() -> Signature:
    """Shingles and MinHash of a text, computed once for each. Source: Broder 1997.

    Raises UserError if datasketch is not installed.
    """
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise UserError(f"doctor.near_copies {MISSING}") from error

    empty = MinHash(PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest)

    @cache
    def signature(text: str) -> tuple[Shingles, MinHash]:
        found, minhash = shingles(text), empty.copy()
        minhash.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in found])
        return found, minhash

    return signature


class NearTexts:
    """Texts to which others are compared. threshold: the least Jaccard index of what counts as a near copy."""

    def __init__(self, threshold: float, signature: Signature) -> None:
        from datasketch import MinHashLSH

        self.threshold = threshold
        self.signature = signature
        self._number: dict[str, int] = {}
        weights = (FALSE_POSITIVE, FALSE_NEGATIVE)
        self._candidates: Any = MinHashLSH(threshold, PERMUTATIONS, weights)

    def add(self, text: str) -> None:
        """Let further texts be compared with this one."""
        if text not in self._number:
            self._number[text] = len(self._number)
            self._candidates.insert(text, self.signature(text)[1])

    def nearest(self, text: str) -> tuple[str, float] | None:
        """The most alike of the texts added, the first of equals, and the Jaccard index; None if none is near."""
        own, minhash = self.signature(text)
        alike = {other: jaccard(own, self.signature(other)[0]) for other in self._candidates.query(minhash)}
        near = [other for other, index in alike.items() if index >= self.threshold]
        if not near:
            return None
        best = min(near, key=lambda other: (-alike[other], self._number[other]))
        return best, alike[best]
