"""One malformed input: what is written, which command meets it, and what its message must say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.composing import Primary

Content = str | bytes | Callable[[Path], None]  # what is written at a path; a function writes it itself

PAIRS = [{"anchor": f"frage {i}", "positive": f"antwort {i}", "nr": f"n{i}"} for i in range(3)]
LINES = [json.dumps(pair) for pair in PAIRS]
JSON_LINES = "\n".join(LINES) + "\n"
CELLS = [["anchor", "positive", "nr"], *([pair[key] for key in pair] for pair in PAIRS)]
CSV = "".join(",".join(row) + "\n" for row in CELLS)
TSV = CSV.replace(",", "\t")
FILES = ("data=pairs", "data.evaluation=good.jsonl")


@dataclass(frozen=True)
class Case:
    """A user's command over files, in a folder of its own.

    says: words of the one message. files: by their path in the folder; `good.jsonl` is always there. problems: lines of
    the message that name a problem, where it is one of the configuration. mended: the same file written right, after
    which the command must be met as if nothing had been: so a broken file leaves nothing behind. harmless: read right.
    """

    name: str
    words: tuple[str, ...]
    says: tuple[str, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)
    program: Primary = "train"
    problems: int | None = None
    mended: Mapping[str, Content] = field(default_factory=dict)
    harmless: bool = False
    model: bool = False


def training_file(name: str, content: Content, *says: str, file: str = "train.jsonl", clean: Content = "") -> Case:
    """A run whose training file is as written."""
    words = (*FILES, f"data.train={file}")
    mended = {file: clean} if clean else {}
    return Case(name, words, (file, *says), {file: content}, mended=mended)


def harmless(name: str, content: Content, file: str = "train.jsonl") -> Case:
    """A training file that looks odd and gives the rows of PAIRS."""
    return Case(name, (*FILES, f"data.train={file}"), (), {file: content}, harmless=True)


def write(folder: Path, files: Mapping[str, Content]) -> None:
    """The files of a case, with their folders."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")


def names(cases: Sequence[Case]) -> list[str]:
    """Of each case, for a test's id."""
    return [case.name for case in cases]
