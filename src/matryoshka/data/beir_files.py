"""The files of a folder in BEIR's or MTEB's layout: texts and judgements, whole or in numbered parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from matryoshka.errors import DataError

TEXTS = (".jsonl", ".jsonl.gz", ".parquet")
JUDGEMENTS = (".tsv", *TEXTS)
PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})")  # as the hub names the parts of a split
FOLDERS = ("qrels", "data", "default")  # of judgements
LAYOUT = "BEIR's layout has corpus.jsonl, queries.jsonl, qrels/; MTEB's the same, or folders of them, also as .parquet"


def text_files(folder: Path, kind: str, split: str) -> list[Path]:
    """The files of the corpus or of the queries, those of the split where a folder has several.

    Raises DataError if there are none, if one is missing among numbered parts, or if splits cannot be told apart.
    """
    for suffix in TEXTS:
        if (file := folder / f"{kind}{suffix}").is_file():
            return [file]
    found = _by_name(folder / kind, TEXTS)
    for name in (split, kind, *(found if len(found) == 1 else ())):
        if name in found:
            return _complete(found[name])
    if found:
        several = ", ".join(sorted(found))
        raise DataError(
            f"{folder / kind} has files of several splits ({several}) and none of {split}; keep one of them"
        )
    raise DataError(f"{folder / kind}.jsonl does not exist; {LAYOUT}")


def judgement_files(folder: Path, split: str) -> list[Path]:
    """The files of a split's judgements. Raises DataError as above."""
    for place in FOLDERS:
        if split in (found := _by_name(folder / place, JUDGEMENTS)):
            return _complete(found[split])
    raise DataError(f"{folder / 'qrels' / split}.tsv does not exist; {LAYOUT}")


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """A folder's files by split, each with all of its parts; of several formats the first counts."""
    found: dict[str, list[Path]] = {}
    for suffix in suffixes:
        of_format: dict[str, list[Path]] = {}
        for file in sorted(folder.glob(f"*{suffix}")) if folder.is_dir() else ():
            stem = file.name.removesuffix(suffix)
            part = PART.fullmatch(stem)
            of_format.setdefault(part[1] if part else stem, []).append(file)
        found = of_format | found
    return found


def _complete(files: Sequence[Path]) -> list[Path]:
    """The files as they are. Raises DataError where they are not a file alone or all of its parts."""
    parts = [PART.match(file.name) for file in files]
    totals = {part[3] if part else "" for part in parts}
    if len(totals) > 1:
        raise DataError(f"{files[0].parent} has {files[0].name} and {files[-1].name}; keep one of them")
    if total := totals.pop():
        there = {int(part[2]) for part in parts if part}
        if missing := sorted(set(range(int(total))) - there):
            name = files[0].name.replace(f"-{parts[0][2]}-of-", f"-{missing[0]:05d}-of-") if parts[0] else ""
            raise DataError(f"{files[0].parent / name} is missing; fetch all {int(total)} parts")
    return list(files)
