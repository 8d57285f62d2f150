"""Folders in MTEB's layout."""

from __future__ import annotations

import pyarrow as pa

from tests.malformed.case import Case
from tests.malformed.parquet import content

CORPUS, QUERIES, TRAIN, TEST = (
    "mteb/corpus/test-00000-of-00001.parquet",
    "mteb/queries/queries.parquet",
    "mteb/data/train-00000-of-00001.parquet",
    "mteb/data/test-00000-of-00001.parquet",
)
TEXTS = [{"_id": f"{i}", "title": f"t{i}", "text": f"text {i}"} for i in (1, 2, 3)]
JUDGED = [{"query-id": "1", "corpus-id": f"{i}", "score": i} for i in (1, 2)]
GOOD = {
    CORPUS: content(pa.Table.from_pylist(TEXTS)),
    QUERIES: content(pa.Table.from_pylist(TEXTS)),
    TRAIN: content(pa.Table.from_pylist(JUDGED)),
    TEST: content(pa.Table.from_pylist(JUDGED)),
}
WORDS = ("data=beir", "data.folder=mteb")
DAY = pa.array([0], pa.timestamp("s"))


def _judged(**columns: object) -> bytes:
    return content(pa.table({"query-id": ["1"], "corpus-id": ["1"], "score": [1]} | columns))


BROKEN: dict[str, tuple[str, bytes | None, tuple[str, ...]]] = {
    "no corpus": (CORPUS, None, ("data.folder: mteb/corpus.jsonl does not exist; BEIR's layout has",)),
    "no test judgements": (TEST, None, ("data.folder: mteb/qrels/test.tsv does not exist; BEIR's layout has",)),
    "no train judgements": (TRAIN, None, ("data.folder: mteb/qrels/train.tsv does not exist; BEIR's layout has",)),
    "an empty corpus": (CORPUS, b"", ("test-00000-of-00001.parquet cannot be read", "write the file again")),
    "a cut corpus": (CORPUS, GOOD[CORPUS][:-9], ("cannot be read", "write the file again")),
    "a corpus without rows": (CORPUS, content(pa.table({"_id": pa.array([], pa.string())})), ("has no rows; give",)),
    "a corpus without ids": (CORPUS, content(pa.table({"text": ["a"]})), ("has no column '_id'; it has",)),
    "a corpus without texts": (CORPUS, content(pa.table({"_id": ["a"]})), ("has no column 'text'; it has",)),
    "dates for ids": (CORPUS, content(pa.table({"_id": DAY, "text": ["a"]})), ("row 1: the id is datetime",)),
    "dates for texts": (CORPUS, content(pa.table({"_id": ["1"], "text": DAY})), ("row 1", "not a text; save the col")),
    "fractions for ids": (CORPUS, content(pa.table({"_id": [0.5], "text": ["a"]})), ("row 1: the id is 0.5, no text",)),
    "an id twice": (
        CORPUS,
        content(pa.table({"_id": ["1", "1"], "text": ["a", "b"]})),
        ("row 2: id '1' is given twice",),
    ),
    "judgements of other columns": (TEST, content(pa.table({"query": ["1"]})), ("has no column 'query-id'; it has",)),
    "a date for a query": (TEST, _judged(**{"query-id": DAY}), ("row 1: query-id is datetime", "write the id as text")),
    "null for a query": (
        TEST,
        _judged(**{"query-id": pa.array([None], pa.string())}),
        ("row 1: query-id is empty; give",),
    ),
    "half a grade": (TEST, _judged(score=[0.5]), ("row 1: score is 0.5, no whole number; multiply",)),
    "a grade of null": (TEST, _judged(score=pa.array([None], pa.int64())), ("row 1: score is None, not a number;",)),
    "a grade of text": (TEST, _judged(score=["good"]), ("row 1: score is 'good', not a number; write",)),
    "an unknown document": (
        TEST,
        _judged(**{"corpus-id": ["9"]}),
        ("document '9' has no text in corpus; give it one",),
    ),
    "an unknown query": (TRAIN, _judged(**{"query-id": ["9"]}), ("query '9' has no text in queries; give it one",)),
}


def _with(file: str, data: bytes | None) -> dict[str, bytes]:
    return {name: other for name, other in {**GOOD, file: data}.items() if other is not None}


MORE = {
    "a part that is missing": ("corpus/test-00001-of-00002.parquet", "keep one of them"),
    "a split in one piece and in parts": ("data/test.parquet", "keep one of them"),
}
CASES: list[Case] = [
    *(Case(f"mteb: {name}", WORDS, says, _with(file, data)) for name, (file, data, says) in BROKEN.items()),
    *(
        Case(f"mteb: {name}", WORDS, ("data.folder: mteb/", says), {**GOOD, f"mteb/{file}": GOOD[CORPUS]})
        for name, (file, says) in MORE.items()
    ),
    Case("mteb: as it should be", WORDS, (), GOOD, harmless=True),
    Case(
        "mteb: grades with a point, numbers for ids",
        WORDS,
        (),
        _with(TEST, _judged(**{"query-id": [1], "corpus-id": [2], "score": [2.0]})),
        harmless=True,
    ),
    Case("mteb: a list of documents", WORDS, (), _with(TEST, _judged(**{"corpus-id": [["1", "2"]]})), harmless=True),
    Case("mteb: only measured", ("data=beir", "data.folder=mteb"), (), _with(TRAIN, None), "evaluate", harmless=True),
]
