"""Paths and other texts of a command, as a user types them, in the quotes that Hydra's grammar needs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Sweep
from hydra.errors import HydraException

from matryoshka.cli.command_line import as_text
from matryoshka.storage.command_words import in_quotes

SWEEP = ("-m", "--multirun")
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")  # which nothing sweeps, and which need not be there yet
PATHS = ("model", "encoder.model", "negatives.model", "run", "resume", "runs", "compare", "baselines", *FOLDERS)
GROUPS = ("data.", "sets.")  # whose values are files, columns and their separators, but for numbers
NUMBERS = "at_most"
QUOTES = ("'", '"')
IN_QUOTES = r"""\s*'(?:[^'\\]|\\.)*'\s*(?=,|$)|\s*"(?:[^"\\]|\\.)*"\s*(?=,|$)"""
PIECE = re.compile(rf"({IN_QUOTES}|[^,]*)(?:,|$)")


def for_hydra(words: Sequence[str]) -> list[str]:
    """A command's words as Hydra reads them. argparse reads overrides only in one piece; people put -m anywhere."""
    words = sorted(map(as_text, words), key=lambda word: word not in SWEEP)
    sweep = bool(words) and words[0] in SWEEP
    return [read_literally(word, sweep=sweep) for word in words]


def read_literally(word: str, *, sweep: bool) -> str:
    """A word whose value is a path, a column or the like, in quotes where Hydra would read it otherwise or not at all.

    What the grammar takes stays as it is: lists, quotes, `${...}` and, of a sweep, values separated by commas, unless a
    file or a folder is called exactly so.
    """
    key, equals, text = word.partition("=")
    bare = key.lstrip("+")
    if not (equals and text) or bare.endswith(NUMBERS) or not (bare in PATHS or bare.startswith(GROUPS)):
        return word
    try:
        value = OverridesParser.create().parse_override(word).value()
    except (HydraException, ValueError):
        return f"{key}={_unread(text, sweep)}"
    as_it_is = value is None or isinstance(value, bool) or value == text
    swept_by_mistake = bare in FOLDERS and isinstance(value, Sweep)
    if swept_by_mistake or (not as_it_is and os.path.lexists(text)):
        return f"{key}={in_quotes(text)}"
    return word


def _unread(text: str, sweep: bool) -> str:
    """A value that is not of the grammar: a list of texts, several to sweep over, or one text."""
    if os.path.lexists(text):
        return in_quotes(text)
    if text.startswith("[") and text.endswith("]"):
        pieces = _pieces(text[1:-1])
        return f"[{','.join(piece if piece[:1] in QUOTES else in_quotes(piece) for piece in pieces)}]"
    if sweep and all(map(os.path.lexists, pieces := _pieces(text))):
        return ",".join(map(in_quotes, pieces))
    return in_quotes(text, interpolated=True)


def _pieces(text: str) -> list[str]:
    """What stands between commas, several of them together where a file is called so."""
    left, found = PIECE.findall(text)[:-1], []  # the last is what follows the end
    while left:
        ends = [n for n in range(len(left), 0, -1) if os.path.lexists(",".join(left[:n]).strip())]
        count = ends[0] if ends else 1
        found.append(",".join(left[:count]).strip())
        del left[:count]
    return found
