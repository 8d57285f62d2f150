"""A few of the embedded German pairs, in the files of a user."""

from __future__ import annotations

import json
from pathlib import Path

from matryoshka.embedded.german_help import FOLDER


def write_pairs(folder: Path, train: int, evaluation: int) -> None:
    """train.jsonl and evaluation.jsonl with so many of the first rows each."""
    for name, rows in (("train", train), ("evaluation", evaluation)):
        lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:rows]), encoding="utf-8")


def rows_of(name: str, count: int) -> list[dict[str, str]]:
    """So many of the first rows of a file."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line) for line in lines]
