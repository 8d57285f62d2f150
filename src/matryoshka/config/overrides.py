"""Lists as words of a command, written so that Hydra's grammar reads them as they are meant."""

from __future__ import annotations

from collections.abc import Iterable

from matryoshka.storage.command_words import quoted


def quoted_list(texts: Iterable[str]) -> str:
    """A list of values."""
    return f"[{','.join(map(quoted, texts))}]"
