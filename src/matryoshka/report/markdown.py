"""Pieces of a Markdown page that no text can break."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Literal

# An underscore within a word is no syntax; an address by itself is, for it becomes a link.
SYNTAX = re.compile(r"[\\`*{}\[\]#|~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|@", re.IGNORECASE)
RULES = {"left": ":---", "centre": ":---:", "right": "---:"}


def plain(text: object) -> str:
    """Text that Markdown shows as it is, on one line, in a paragraph or in a table's cell."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return SYNTAX.sub(r"\\\g<0>", line)


def shortened(text: str, length: int) -> str:
    """Text on one line, cut after `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length].rstrip()} ..."


def fenced(content: str, language: str = "") -> str:
    """A block of code; its fence is longer than any in the content."""
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content.rstrip()}\n{fence}"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    align: Literal["left", "centre", "right"] = "right",
) -> str:
    """A table, the same alignment in every column; header and cells are Markdown already."""
    lines = [header, [RULES[align]] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
