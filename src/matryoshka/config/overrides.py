"""Words of a command, written so that Hydra's grammar reads them as they are meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)  # what needs no quotes in Hydra's grammar


def quoted(text: str) -> str:
    """A value, in quotes where it needs them."""
    return text if PLAIN.fullmatch(text) else "'" + text.replace("'", r"\'") + "'"


def quoted_list(texts: Iterable[str]) -> str:
    """A list of values."""
    return f"[{','.join(map(quoted, texts))}]"
