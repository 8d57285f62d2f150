"""LlamaIndex's files of questions."""

from __future__ import annotations

import json
from typing import Any

from tests.malformed.case import FILES, Case, Content, training_file

GOOD: dict[str, Any] = {
    "queries": {"q1": "frage 1", "q2": "frage 2"},
    "corpus": {"d1": "antwort 1", "d2": "antwort 2", "d3": "antwort 3"},
    "relevant_docs": {"q1": ["d1", "d3"], "q2": ["d2"]},
    "mode": "text",
}
WHOLE = json.dumps(GOOD)
AGAIN = "write the complete file again"
DEEP = '{"queries": {"a": ' + "[" * 100_000


def _with(**parts: Any) -> str:
    return json.dumps({**GOOD, **parts})


BROKEN: dict[str, tuple[Content, ...]] = {
    "cut": (WHOLE[:40], "line 1", AGAIN),
    "cut in its sixth line": (json.dumps(GOOD, indent=1)[:60], "line 6", AGAIN),
    "another after it": (WHOLE + WHOLE, "line 1", AGAIN),
    "a comma too many": (WHOLE[:-1] + ",}", "line 1", AGAIN),
    "deep": (DEEP, "nested too deeply; LlamaIndex's file of questions"),
    "an id twice": (WHOLE.replace('"q2": "f', '"q1": "f'), "key 'q1' is given twice; keep one of them"),
    "Latin-1": (
        _with(corpus={"d1": "ä"}).replace("\\u00e4", "ä").encode("latin-1"),
        "line 1",
        "0xe4 is not UTF-8; save",
    ),
    "half a surrogate pair": (WHOLE.replace("frage 1", "\\ud800"), "half of a surrogate pair", "remove it"),
    "NaN": (WHOLE.replace('"frage 1"', "NaN"), "NaN is no JSON; give a text"),
    "no corpus": (json.dumps({"queries": {}, "relevant_docs": {}}), "corpus is no object of ids;"),
    "a list for the corpus": (_with(corpus=["a"]), "corpus is no object of ids;"),
    "a list for the queries": (_with(queries=[{"id": 1}]), "queries is no object of ids;"),
    "no queries": (_with(queries={}), "queries: has no texts; give at least one"),
    "null for a text": (_with(corpus={"d1": None}), "corpus: 'd1' is None, not a text; put it in quotes"),
    "a number for a text": (_with(queries={"q1": 3}), "queries: 'q1' is 3, not a text; put it in quotes"),
    "an object for a text": (_with(corpus={"d1": {"text": "a"}}), "corpus: 'd1' is {'text': 'a'}, not a text;"),
    "an empty text": (_with(corpus={"d1": "a", "d2": ""}), "corpus, row 2: 'text' is empty; remove"),
    "a byte 0": (_with(queries={"q1": "a\0"}), "queries, row 1: 'text' has a NUL character"),
    "two million characters": (_with(corpus={"d1": "x" * 2_000_000}), "more than 1,000,000 characters; cut it"),
    "images": (_with(mode="image"), "mode is 'image'; only files of texts"),
    "answers in a text": (_with(relevant_docs={"q1": "d1"}), "query 'q1' has 'd1'; give a list of the ids"),
    "answers with grades": (_with(relevant_docs={"q1": {"d1": 2}}), "query 'q1' has {'d1': 2}; give a list"),
    "numbers for ids": (_with(relevant_docs={"q1": [1]}), "query 'q1' has [1]; give a list of the ids"),
    "null for answers": (_with(relevant_docs={"q1": None}), "query 'q1' has None; give a list of the ids"),
    "an unknown query": (_with(relevant_docs={"q9": ["d1"]}), "query 'q9' is not among the queries; give"),
    "an unknown document": (_with(relevant_docs={"q1": ["d9"]}), "document 'd9', which is not in the corpus; give"),
    "no answers": (_with(relevant_docs={}), "no query has a relevant document; name one"),
}

CASES: list[Case] = [
    *(
        training_file(f"questions: {name}", text, *map(str, says), file="train.json")
        for name, (text, *says) in BROKEN.items()
    ),
    Case(
        "questions: negatives of them",
        (*FILES, "data.train=train.json", "data.negatives=[wrong]"),
        ("data.train: train.json has no column 'wrong'; it is LlamaIndex's file of questions",),
        {"train.json": WHOLE},
    ),
    Case(
        "questions: as it should be",
        ("data=pairs", "data.train=qa.json", "data.evaluation=qa.json"),
        (),
        {"qa.json": WHOLE},
        harmless=True,
    ),
    Case(
        "questions: indented, only measured",
        ("data=pairs", "data.evaluation=qa.json"),
        (),
        {"qa.json": json.dumps(GOOD, indent=4)},
        "evaluate",
        harmless=True,
    ),
]
