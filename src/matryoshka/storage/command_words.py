"""Values as words of a command: as Hydra's grammar reads them, and as a shell does."""

from __future__ import annotations

import re
import shlex

PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)  # what needs no quotes in Hydra's grammar
NO_TEXT = re.compile(r"[+-]?[\d._]+(e[+-]?\d+)?|[+-]?(inf|nan)|null|true|false", re.IGNORECASE)


def quoted(text: str) -> str:
    """A text, in quotes where Hydra's grammar needs them."""
    return text if PLAIN.fullmatch(text) and not NO_TEXT.fullmatch(text) else in_quotes(text)


def in_quotes(text: str, *, interpolated: bool = False) -> str:
    """A text in quotes of Hydra's grammar. interpolated: `${...}` in it is not literal."""
    literal = text if interpolated else text.replace("${", r"\${")
    escaped = re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + (r"\'" if end[2] else ""), literal)
    return f"'{escaped}'"


def pasted(key: str, text: str) -> str:
    """`key=text` as someone can paste it into a shell, whatever is in the text."""
    return shlex.quote(f"{key}={quoted(text)}")
