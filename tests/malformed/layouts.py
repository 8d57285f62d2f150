"""Rows of lists, and labelled pairs."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from tests.malformed.case import FILES, Case, Content, training_file
from tests.malformed.parquet import content

ROW: dict[str, Any] = {"query": "q", "pos": ["p"], "neg": ["n"]}
SCORED: dict[str, Any] = {**ROW, "pos_scores": [1.0], "neg_scores": [0.5]}
LABELLED: dict[str, Any] = {"sentence1": "q", "sentence2": "p", "label": 1}


def lines(*rows: object) -> str:
    """JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


SECOND: dict[str, tuple[dict[str, Any], str]] = {
    "a text as pos": ({"pos": "p"}, "'pos' is 'p', not a list of texts; write"),
    "a number as pos": ({"pos": 3}, "'pos' is 3, not a list of texts; write"),
    "an object as pos": ({"pos": {"text": "p"}}, "'pos' is {'text': 'p'}, not a list of texts; write"),
    "null as pos": ({"pos": None}, "'pos' is empty; give the row a text there"),
    "an empty pos": ({"pos": []}, "'pos' is empty; give the row a text there"),
    "no pos": ({"pos": ...}, "'pos' is empty; give the row a text there"),
    "an empty text in pos": ({"pos": ["p", ""]}, "'pos' has a text that is empty; remove"),
    "blanks in neg": ({"neg": ["\u00a0"]}, "'neg' has a text that is empty; remove"),
    "null in neg": ({"neg": [None]}, "'neg' has a text that is empty; remove"),
    "a number in neg": ({"neg": ["n", 5]}, "'neg' has 5, not a text; write"),
    "true in pos": ({"pos": [True]}, "'pos' has True, not a text; write"),
    "lists in neg": ({"neg": [["n"], ["m"]]}, "'neg' has ['n'], not a text; write"),
    "a huge text in neg": ({"neg": ["n" * 2_000_000]}, "'neg' has a text that has more than 1,000,000 characters; cut"),
    "a byte 0 in pos": ({"pos": ["p\0"]}, "'pos' has a text that has a NUL character"),
    "an empty query": ({"query": " "}, "'query' is empty; remove"),
    "a list as query": ({"query": ["q"]}, "'query' is ['q'], not a text"),
    "a prompt of a list": ({"prompt": ["p"]}, "'prompt' is ['p'], not a text; put"),
}
SCORES: dict[str, tuple[dict[str, Any], str]] = {
    "fewer scores than texts": ({"neg": ["n", "m"]}, "'neg_scores' has 1 numbers for the 2 of 'neg'; give"),
    "more scores than texts": ({"pos_scores": [1.0, 0.5]}, "'pos_scores' has 2 numbers for the 1 of 'pos'; give"),
    "no scores": ({"neg_scores": None}, "'neg_scores' has 0 numbers for the 1 of 'neg'; give"),
    "a score of text": ({"neg_scores": ["high"]}, "'neg_scores' has 'high', not a number; write"),
    "a score of null": ({"pos_scores": [None]}, "'pos_scores' has None, not a number; write"),
    "a number for scores": ({"pos_scores": 1.0}, "'pos_scores' is 1.0, not a list; write"),
}
LABELS: dict[str, tuple[object, str]] = {
    "2": (2, "'label' is 2, neither 0 nor 1; with data.threshold"),
    "a fraction": (0.4, "'label' is 0.4, neither 0 nor 1; with data.threshold=0.5"),
    "below 0": (-1, "'label' is -1, neither 0 nor 1"),
    "a word": ("yes", "'label' is 'yes', not a number; write 1"),
    "null": (None, "'label' is None, not a number; write 1"),
    "a list": ([1], "'label' is [1], not a number; write 1"),
    "both": (0, "'label' is 0, and an earlier row of the same texts has 1; keep"),
}
PARQUET: dict[str, tuple[pa.Array, str]] = {
    "numbers": (pa.array([[1], [2]]), "row 1: 'pos' has 1, not a text; write"),
    "lists of lists": (pa.array([[["p"]], [["p"]]]), "row 1: 'pos' has ['p'], not a text; write"),
    "structs": (pa.array([{"a": "p"}] * 2), "row 1: 'pos' is {'a': 'p'}, not a list of texts; write"),
    "an empty list": (pa.array([["p"], []]), "row 2: 'pos' is empty; give"),
    "null": (pa.array([["p"], None]), "row 2: 'pos' is empty; give"),
}
HARMLESS: dict[str, Content] = {
    "rows of lists": lines(ROW, {**ROW, "neg": []}, {**ROW, "pos": ["p", "p"]}),
    "rows without neg": lines({"query": "q", "pos": ["p"]}),
    "some rows without neg": lines({"query": "q", "pos": ["p"]}, ROW),
    "scores of whole numbers": lines({**SCORED, "pos_scores": [1], "neg_scores": [0]}),
    "no negatives at all": lines({**ROW, "neg": []}, {**ROW, "neg": []}),
    "one text for each list": lines({"query": "q", "pos": "p", "neg": "n"}),
    "labels of true and false": lines({**LABELLED, "label": True}, {**LABELLED, "sentence2": "n", "label": False}),
    "known names": lines({"question": "q", "answer": "p"}),
    "a number beside the known columns": lines({"question": "q", "answer": "p", "votes": 3}),
}


def _second(row: dict[str, Any], changed: dict[str, Any]) -> str:
    return lines(row, {key: value for key, value in {**row, **changed}.items() if value is not ...})


def _harmless(name: str, file: str, written: Content) -> Case:
    return Case(name, (*FILES, f"data.train={file}"), (), {file: written}, harmless=True)


CASES: list[Case] = [
    *(training_file(f"rows: {name}", _second(ROW, row), "row 2", says) for name, (row, says) in SECOND.items()),
    *(training_file(f"rows: {name}", _second(SCORED, row), "row 2", says) for name, (row, says) in SCORES.items()),
    *(
        training_file(f"labels: {name}", _second(LABELLED, {"label": label}), "row 2", says)
        for name, (label, says) in LABELS.items()
    ),
    *(
        training_file(
            f"Parquet rows: {name}", content(pa.table({"query": ["q", "r"], "pos": pos})), says, file="train.parquet"
        )
        for name, (pos, says) in PARQUET.items()
    ),
    training_file("labels: of wrong answers alone", lines({**LABELLED, "label": 0}), "no row has a label of 1 or more"),
    training_file("rows: an empty pos first", lines({**ROW, "pos": []}), "'pos' of the first row is empty; every"),
    training_file(
        "rows: two pairs of known names",
        lines({"question": "q", "answer": "p", "query": "q", "passage": "p"}),
        "say which are meant: data.anchor=question",
    ),
    training_file(
        "rows: two columns of lists of negatives",
        lines({**ROW, "negatives": ["n"]}),
        "columns 'neg', 'negatives' beside lists of texts; keep one",
    ),
    *(_harmless(f"rows: {name}", "rows.jsonl", written) for name, written in HARMLESS.items()),
]
