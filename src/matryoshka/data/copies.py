"""Which texts are copies of each other: equal but for case, spaces and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

WORD = re.compile(r"\w+")


def normalised(text: str) -> str:
    """The words of a text in small letters, one space apart (NFKC, case folded); a text without words as it is."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold())) or text.strip()


def first_copies(texts: Iterable[str]) -> list[int]:
    """The number of the first text that each text is a copy of: its own if none before it is equal."""
    first: dict[str, int] = {}
    return [first.setdefault(normalised(text), number) for number, text in enumerate(texts)]
