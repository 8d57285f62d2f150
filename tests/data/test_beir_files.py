"""MTEB's folders are read as BEIR's are, whatever the files are called and written in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from matryoshka.data.beir import BeirFolder
from matryoshka.errors import DataError

CORPUS = [
    {"_id": "2024-01-01", "title": "2020-05-17T00:00:00", "text": "Wer sie zahlt."},
    {"_id": "007", "title": "", "text": "2020-05-17"},
    {"_id": "d3", "title": None, "text": "Nichts"},
]
QUERIES = [{"_id": "2021-02-03", "text": "2021-02-03T04:05:06"}, {"_id": "q2", "text": "Was?"}]
TEST = [("2021-02-03", "2024-01-01", 2), ("2021-02-03", "007", 1), ("q2", "d3", 0), ("q2", "007", 1)]
TRAIN = [("q2", "d3", 1)]
Rows = Sequence[dict[str, Any]]


def lines(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def table(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(list(rows)), path)


def write(path: Path, rows: Rows) -> None:
    (table if path.suffix == ".parquet" else lines)(path, rows)


def judged(rows: Sequence[tuple[Any, Any, Any]]) -> Rows:
    return [dict(zip(("query-id", "corpus-id", "score"), row, strict=True)) for row in rows]


def parts(rows: Rows, name: str) -> dict[str, Rows]:
    """Two files of a table."""
    return {name.format(0, 2): rows[:1], name.format(1, 2): rows[1:]}


LAYOUTS: dict[str, dict[str, Rows]] = {
    "lines": {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.jsonl": judged(TEST)},
    "tables": {"corpus.parquet": CORPUS, "queries.parquet": QUERIES, "qrels/test.parquet": judged(TEST)},
    "folders": {
        "corpus/corpus.jsonl": CORPUS,
        "queries/test.parquet": QUERIES,
        "data/test.parquet": judged(TEST),
    },
    "parts": {
        **parts(CORPUS, "corpus/test-{:05d}-of-{:05d}.parquet"),
        **parts(QUERIES, "queries/queries-{:05d}-of-{:05d}.parquet"),
        **parts(judged(TEST), "qrels/test-{:05d}-of-{:05d}.parquet"),
    },
    "splits": {
        "corpus/test-00000-of-00001.parquet": CORPUS,
        "corpus/train-00000-of-00001.parquet": CORPUS[2:],
        "queries/test-00000-of-00001.parquet": QUERIES,
        "queries/train-00000-of-00001.parquet": QUERIES[1:],
        "default/test-00000-of-00001.parquet": judged(TEST),
    },
}


@pytest.mark.parametrize("ids", ["_id", "id"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_set(tmp_path: Path, layout: str, ids: str) -> None:
    for name, rows in LAYOUTS[layout].items():
        write(tmp_path / name, [{ids if key == "_id" else key: value for key, value in row.items()} for row in rows])
    source = BeirFolder("m", str(tmp_path))

    assert list(source.problems()) == []
    found = source.retrieval_set()
    assert found.queries == {row["_id"]: row["text"] for row in QUERIES}
    assert found.corpus == {"2024-01-01": "2020-05-17T00:00:00 Wer sie zahlt.", "007": "2020-05-17", "d3": "Nichts"}
    assert found.grades == {"2021-02-03": {"2024-01-01": 2, "007": 1}, "q2": {"007": 1}}
    (line,) = source.read_as()
    assert line.startswith(f"{tmp_path} read as MTEB's layout: corpus")


def test_it_is_trained_on_where_there_are_judgements_to(tmp_path: Path) -> None:
    for name, rows in LAYOUTS["splits"].items():
        write(tmp_path / name, rows)
    source = BeirFolder("m", str(tmp_path))
    (problem,) = source.training_problems()
    assert (problem[0], "qrels/train.tsv does not exist; BEIR's layout has" in problem[1]) == ("folder", True)
    with pytest.raises(DataError, match=r"qrels/train\.tsv does not exist"):
        source.training_pairs()

    write(tmp_path / "default/train-00000-of-00001.parquet", judged(TRAIN))
    assert list(source.training_problems()) == []
    assert source.training_pairs()[:] == {"anchor": ["Was?"], "positive": ["Nichts"]}
    assert [key for key, _ in BeirFolder("m", str(tmp_path), None).training_problems()] == ["train_split"]


def test_numbers_are_ids_as_texts(tmp_path: Path) -> None:
    """A table may have numbers where another has texts."""
    write(tmp_path / "corpus.parquet", [{"_id": 1, "text": "eins"}])
    write(tmp_path / "queries.jsonl", [{"_id": "7", "text": "sieben"}])
    write(tmp_path / "qrels/test.parquet", judged([(7, "1", 1.0)]))

    assert BeirFolder("m", str(tmp_path)).retrieval_set().grades == {"7": {"1": 1}}


def _dates(folder: Path, where: str) -> None:
    day = pa.array([0], pa.timestamp("s"))
    for name, rows in LAYOUTS["tables"].items():
        write(folder / name, rows)
    if where == "corpus":
        parquet.write_table(pa.table({"_id": day, "text": ["a"]}), folder / "corpus.parquet")
    else:
        parquet.write_table(
            pa.table({"query-id": day, "corpus-id": ["007"], "score": [1]}), folder / "qrels" / "test.parquet"
        )


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a date for an id": (lambda folder: _dates(folder, "corpus"), r"corpus\.parquet, row 1: the id is datetime"),
    "a date for a query": (
        lambda folder: _dates(folder, "qrels"),
        r"test\.parquet, row 1: query-id is datetime.* as text",
    ),
    "a part that is missing": (
        lambda folder: write(folder / "corpus/test-00001-of-00003.parquet", CORPUS),
        r"corpus/test-00000-of-00003\.parquet is missing; fetch all 3 parts",
    ),
    "parts and a whole": (
        lambda folder: [write(folder / f"corpus/test{n}.parquet", CORPUS) for n in ("", "-00000-of-00001")],
        r"corpus has test.*parquet and test.*parquet; keep one",
    ),
    "splits of other names": (
        lambda folder: [write(folder / f"corpus/{n}.parquet", CORPUS) for n in ("de", "en")],
        r"corpus has files of several splits \(de, en\) and none of test; keep one of them",
    ),
    "no corpus": (lambda folder: folder.mkdir(exist_ok=True), r"corpus\.jsonl does not exist; BEIR's layout has"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    make, message = BROKEN[name]
    write(tmp_path / "queries.jsonl", QUERIES)
    make(tmp_path)
    source = BeirFolder("m", str(tmp_path))

    assert "date" in name or any(True for _ in source.problems())
    with pytest.raises(DataError, match=message):
        source.retrieval_set()
