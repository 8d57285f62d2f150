"""The data of `what_helps.py`: pairs of some laws to train on, whole other laws to choose and test by, and the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = dict[str, str]
TEST_LAWS = ("sgb_5", "sgb_9", "aktg", "urhg", "zpo")
DEV_LAWS = ("sgb_7", "tkg", "betrvg", "gmbhg", "vwvfg", "weg")


@dataclass(frozen=True)
class Sizes:
    """How many of each there are at most. documents: those beside the answers."""

    pairs: int = 1152
    queries: int = 400
    documents: int = 400
    dev: int = 200
    other: int = 200


def write_data(laws: Path, other: Path, folder: Path, sizes: Sizes, test_laws: Sequence[str] = TEST_LAWS) -> str:
    """train, dev, test, test_documents, other and other_documents as JSON lines; says what they are.

    laws: a folder with train.jsonl and eval.jsonl, whose rows name their law as `source`. No row of eval.jsonl, and
    none of a law that is tested or chosen by, is trained on. other: JSON lines of another domain. Rows are drawn by a
    hash of their ids.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dev_laws = [law for law in DEV_LAWS if law not in test_laws]
    train, held_out = _rows(laws / "train.jsonl"), _rows(laws / "eval.jsonl")
    known = [row for row in train if row["source"] not in (*test_laws, *dev_laws)][: sizes.pairs]
    test = [row for row in _drawn([*train, *held_out]) if row["source"] in test_laws]
    dev = [row for row in _drawn([*train, *held_out]) if row["source"] in dev_laws]
    elsewhere = _rows(other)
    parts = {
        "train": known,
        "dev": dev[: sizes.dev],
        "test": test[: sizes.queries],
        "test_documents": test[sizes.queries :][: sizes.documents],
        "other": elsewhere[: sizes.other],
        "other_documents": elsewhere[sizes.other :][: sizes.other],
    }
    for name, rows in parts.items():
        lines = (
            json.dumps({key: row[key] for key in ("id", "anchor", "positive")}, ensure_ascii=False) for row in rows
        )
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    counts = {name: len(rows) for name, rows in parts.items()}
    return (
        f"{counts['train']:,} pairs of {len({row['source'] for row in known})} laws; tested on {counts['test']} "
        f"queries over {counts['test'] + counts['test_documents']:,} paragraphs of {', '.join(test_laws)}; chosen on "
        f"{counts['dev']} of {', '.join(dev_laws)}; elsewhere: {counts['other']} queries over "
        f"{counts['other'] + counts['other_documents']} sections of {other.stem}"
    )


def data_words(folder: Path, train: Path | None = None) -> list[str]:
    """The data on the command line of train.py."""
    other = f"_target_: matryoshka.data.sources.PairFiles, name: other, train: null, id: id, evaluation: {folder}"
    return [
        "data=pairs",
        f"data.train={train or folder / 'train.jsonl'}",
        f"data.dev={folder}/dev.jsonl",
        *test_words(folder),
        f"+sets.other={{{other}/other.jsonl, documents: [{folder}/other_documents.jsonl]}}",
    ]


def test_words(folder: Path) -> list[str]:
    """What is measured."""
    return [f"data.evaluation={folder}/test.jsonl", f"data.documents=[{folder}/test_documents.jsonl]", "data.id=id"]


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as file:
        return _drawn(json.loads(line) for line in file)


def _drawn(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: hashlib.sha256(row["id"].encode()).digest())
