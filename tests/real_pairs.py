"""A few of the embedded German pairs, in the files of a user."""

from __future__ import annotations

from pathlib import Path

from matryoshka.embedded.german_help import FOLDER


def write_pairs(folder: Path, train: int, evaluation: int) -> None:
    """train.jsonl and evaluation.jsonl with so many of the first rows each."""
    for name, rows in (("train", train), ("evaluation", evaluation)):
        lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:rows]), encoding="utf-8")
