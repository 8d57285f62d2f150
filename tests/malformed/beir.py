"""Folders in BEIR's layout."""

from __future__ import annotations

import json

from tests.malformed.case import Case, Content

HEADER = "query-id\tcorpus-id\tscore\n"
GRADES = "q1\td1\t1\nq2\td2\t1\n"
GOOD: dict[str, Content] = {
    "beir/corpus.jsonl": "".join(
        json.dumps({"_id": f"d{i}", "title": f"t{i}", "text": f"text {i}"}) + "\n" for i in (1, 2, 3)
    ),
    "beir/queries.jsonl": "".join(json.dumps({"_id": f"q{i}", "text": f"frage {i}"}) + "\n" for i in (1, 2)),
    "beir/qrels/train.tsv": HEADER + GRADES,
    "beir/qrels/test.tsv": HEADER + GRADES,
}
CORPUS, QUERIES, TRAIN, TEST = GOOD
WORDS = ("data=beir", "data.folder=beir")


def _line(row: object) -> str:
    return json.dumps(row) + "\n"


def _with(file: str, content: Content | None) -> dict[str, Content]:
    files = {**GOOD, file: content or ""}
    return files if content is not None else {name: text for name, text in GOOD.items() if name != file}


BROKEN: dict[str, tuple[str, Content | None, tuple[str, ...]]] = {
    "no corpus": (CORPUS, None, ("data.folder: beir/corpus.jsonl does not exist; BEIR's layout has",)),
    "no queries": (QUERIES, None, ("data.folder: beir/queries.jsonl does not exist; BEIR's layout has",)),
    "no train qrels": (TRAIN, None, ("data.folder: beir/qrels/train.tsv does not exist; BEIR's layout has",)),
    "no test qrels": (TEST, None, ("data.folder: beir/qrels/test.tsv does not exist; BEIR's layout has",)),
    "an empty corpus": (CORPUS, "", ("corpus.jsonl has no rows; give",)),
    "empty queries": (QUERIES, "", ("queries.jsonl has no rows; give",)),
    "empty qrels": (TRAIN, "", ("train.tsv has no rows; give",)),
    "qrels of a header alone": (TRAIN, HEADER, ("train.tsv has no rows; give",)),
    "a cut corpus": (CORPUS, '{"_id": "d1", "text": "a"}\n{"_id": "d2', ("corpus.jsonl, line 2", "whole JSON object")),
    "a corpus in Latin-1": (
        CORPUS,
        '{"_id": "d1", "text": "ä"}\n'.encode("latin-1"),
        ("corpus.jsonl, line 1", "UTF-8"),
    ),
    "a corpus without ids": (CORPUS, _line({"text": "a"}), ("corpus.jsonl has no column '_id'; it has",)),
    "a corpus with other ids": (
        CORPUS,
        _line({"ID": "d1", "text": "a"}),
        ("corpus.jsonl has no column '_id'; it has",),
    ),
    "a corpus without texts": (CORPUS, _line({"_id": "d1", "title": "a"}), ("has no column 'text'; it has",)),
    "a document of null": (
        CORPUS,
        _line({"_id": "d1", "text": "a"}) + _line({"_id": "d2", "text": None}),
        ("row 2", "is empty; remove"),
    ),
    "a document of a number": (
        CORPUS,
        _line({"_id": "d1", "text": 5}),
        ("corpus.jsonl, row 1: 'text' is 5, not a text",),
    ),
    "a document of a list": (CORPUS, _line({"_id": "d1", "text": ["a"]}), ("row 1: 'text' is ['a'], not a text",)),
    "a document of blanks": (
        CORPUS,
        _line({"_id": "d1", "title": "", "text": " "}),
        ("row 1: neither a title nor a text; remove",),
    ),
    "a title of a number": (
        CORPUS,
        _line({"_id": "d1", "title": 5, "text": "a"}),
        ("row 1: 'title' is 5, not a text",),
    ),
    "a title of a list": (
        CORPUS,
        _line({"_id": "d1", "title": ["a"], "text": "a"}),
        ("row 1: 'title' is ['a'], not a text",),
    ),
    "a document twice": (
        CORPUS,
        _line({"_id": "d1", "text": "a"}) + _line({"_id": "d1", "text": "b"}),
        ("corpus.jsonl, row 2: id 'd1' is given twice; give",),
    ),
    "a document without an id": (
        CORPUS,
        _line({"_id": "d1", "text": "a"}) + _line({"text": "b"}),
        ("corpus.jsonl, row 2: the id is empty; give",),
    ),
    "a document of an empty id": (
        CORPUS,
        _line({"_id": "", "text": "b"}),
        ("corpus.jsonl, row 1: the id is empty; give",),
    ),
    "an id of a list": (
        CORPUS,
        _line({"_id": ["d1"], "text": "b"}),
        ("corpus.jsonl, row 1: the id is ['d1'], no text and no number;",),
    ),
    "an id of true": (
        CORPUS,
        _line({"_id": True, "text": "b"}),
        ("corpus.jsonl, row 1: the id is True, no text and no number;",),
    ),
    "a query twice": (
        QUERIES,
        _line({"_id": "q1", "text": "a"}) * 2,
        ("queries.jsonl, row 2: id 'q1' is given twice; give",),
    ),
    "a query of an empty text": (
        QUERIES,
        _line({"_id": "q1", "text": ""}),
        ("queries.jsonl, row 1: neither a title nor a text;",),
    ),
    "a huge query": (
        QUERIES,
        _line({"_id": "q1", "text": "x" * 2_000_000}),
        ("row 1: 'text' has more than 1,000,000",),
    ),
    "qrels without a header": (TRAIN, GRADES, ("train.tsv has no column 'query-id'; it has",)),
    "qrels of another header": (
        TRAIN,
        "qid\tdid\trel\n" + GRADES,
        ("train.tsv has no column 'query-id'; it has",),
    ),
    "qrels with commas": (
        TRAIN,
        (HEADER + GRADES).replace("\t", ","),
        ("train.tsv has no column 'query-id'; it has",),
    ),
    "qrels of TREC": (TRAIN, "q1 0 d1 1\nq2 0 d2 1\n", ("train.tsv has no column 'query-id'; it has",)),
    "qrels of too many cells": (TRAIN, HEADER + GRADES + "q1\td1\t1\t7\n", ("train.tsv, line 4", "more cells")),
    "qrels of too few cells": (TRAIN, HEADER + "q1\td1\n", ("train.tsv, row 1: score is '', not a number; write",)),
    "a grade of text": (TRAIN, HEADER + "q1\td1\tgood\n", ("train.tsv, row 1: score is 'good', not a number; write",)),
    "a grade that is empty": (TRAIN, HEADER + "q1\td1\t\n", ("train.tsv, row 1: score is '', not a number; write",)),
    "a grade of NaN": (TRAIN, HEADER + "q1\td1\tnan\n", ("train.tsv, row 1: score is 'nan', not a number; write",)),
    "a grade of infinity": (
        TRAIN,
        HEADER + "q1\td1\tinf\n",
        ("train.tsv, row 1: score is 'inf', not a number; write",),
    ),
    "grades of 0 alone": (
        TRAIN,
        HEADER + "q1\td1\t0\nq2\td2\t0\n",
        ("train.tsv: no query has a relevant document; give",),
    ),
    "negative grades alone": (TRAIN, HEADER + "q1\td1\t-1\n", ("train.tsv: no query has a relevant document; give",)),
    "grades of 0 alone in test": (TEST, HEADER + "q1\td1\t0\n", ("test.tsv: no query has a relevant document; give",)),
    "two grades of one pair": (
        TRAIN,
        HEADER + "q1\td1\t1\nq1\td1\t0\n",
        ("train.tsv, row 2: query 'q1' and document 'd1' are judged twice; keep",),
    ),
    "an unknown query": (
        TRAIN,
        HEADER + "q9\td1\t1\n",
        ("train.tsv, row 1: query 'q9' has no text in queries.jsonl; give",),
    ),
    "an unknown document": (
        TRAIN,
        HEADER + "q1\td9\t1\n",
        ("train.tsv, row 1: document 'd9' has no text in corpus.jsonl; give",),
    ),
    "an unknown query in test": (
        TEST,
        HEADER + "q9\td1\t1\n",
        ("test.tsv: no query has a relevant document; give",),
    ),
    "an unknown document in test": (
        TEST,
        HEADER + "q1\td9\t1\n",
        ("test.tsv, row 1: document 'd9' has no text in corpus.jsonl; give",),
    ),
    "an id with a blank": (
        TRAIN,
        HEADER + "q1 \td1\t1\n",
        ("train.tsv, row 1: query 'q1 ' has no text in queries.jsonl; give",),
    ),
    "an empty id": (TRAIN, HEADER + "\td1\t1\n", ("train.tsv, row 1: query-id is empty; give",)),
    "a path for an id": (
        TRAIN,
        HEADER + "../../x\td1\t1\n",
        ("train.tsv, row 1: query '../../x' has no text in queries.jsonl; give",),
    ),
}
HARMLESS: dict[str, tuple[str, Content]] = {
    "as it should be": (TRAIN, HEADER + GRADES),
    "line ends of Windows": (TRAIN, (HEADER + GRADES).replace("\n", "\r\n")),
    "a byte order mark": (TRAIN, "\ufeff" + HEADER + GRADES),
    "grades of 0 among others": (TRAIN, HEADER + GRADES + "q1\td3\t0\n"),
    "a negative grade among others": (TRAIN, HEADER + GRADES + "q1\td3\t-1\n"),
    "an unknown id of grade 0": (TRAIN, HEADER + GRADES + "q9\td9\t0\n"),
    "grades with a point": (TRAIN, (HEADER + GRADES).replace("\t1", "\t2.5")),
    "ids that are numbers": (CORPUS, str(GOOD[CORPUS]).replace("}", ', "n": 1}')),
}

CASES: list[Case] = [
    *(Case(f"beir: {name}", WORDS, says, _with(file, content)) for name, (file, content, says) in BROKEN.items()),
    *(
        Case(f"beir: {name}", WORDS, (), _with(file, content), harmless=True)
        for name, (file, content) in HARMLESS.items()
    ),
    Case("beir: no folder", WORDS, ("data.folder: beir/corpus.jsonl does not exist",), problems=4),
    Case(
        "beir: a split out of the folder",
        (*WORDS, "data.train_split=../x"),
        ("data.train_split: '../x' is no name of a split",),
        GOOD,
    ),
    Case(
        "beir: a split of the root",
        (*WORDS, "data.evaluation_split=/etc/x"),
        ("data.evaluation_split: '/etc/x' is no name",),
        GOOD,
    ),
    Case(
        "beir: a dev split that is reported on",
        (*WORDS, "data.dev_split=test"),
        ("data.dev_split: test is what the run reports on; use split=same",),
        GOOD,
    ),
    Case(
        "beir: a split that is missing",
        (*WORDS, "data.train_split=tiny"),
        ("beir/qrels/tiny.tsv does not exist; BEIR's",),
        GOOD,
    ),
]
