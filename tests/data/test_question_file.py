"""LlamaIndex's files of questions, to measure on and to train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matryoshka.data.question_file import is_question_file
from matryoshka.data.reading.form import TextForm
from matryoshka.data.sources import PairFiles
from matryoshka.errors import DataError

FILE: dict[str, Any] = {
    "queries": {"2024-01-01": "Wer zahlt?", "007": "Was?", "q3": "Ohne Antwort"},
    "corpus": {"d1": "Der Käufer.", "2020-05-17T00:00:00": "2020-05-17", "d3": "Nichts."},
    "relevant_docs": {"2024-01-01": ["d1", "2020-05-17T00:00:00"], "007": ["d3"], "q3": []},
    "mode": "text",
}


def written(folder: Path, whole: Any = FILE, name: str = "qa.json", **options: Any) -> str:
    path = folder / name
    path.write_text(json.dumps(whole, **options), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("options", [{}, {"indent": 4}, {"indent": 4, "ensure_ascii": False}])
def test_each_query_with_all_of_its_documents(tmp_path: Path, options: dict[str, Any]) -> None:
    path = written(tmp_path, **options)
    source = PairFiles("qa", path, path)

    assert list(source.problems()) == []
    found = source.retrieval_set()
    assert found.queries == {"q-2024-01-01": "Wer zahlt?", "q-007": "Was?"}
    assert found.corpus == {f"d-{key}": text for key, text in FILE["corpus"].items()}
    assert {query: set(found.grades[query]) for query in found.queries} == {
        "q-2024-01-01": {"d-d1", "d-2020-05-17T00:00:00"},
        "q-007": {"d-d3"},
    }
    assert source.training_pairs()[:] == {
        "anchor": ["Wer zahlt?", "Wer zahlt?", "Was?"],
        "positive": ["Der Käufer.", "2020-05-17", "Nichts."],
    }
    assert list(source.read_as()) == [f"{path} read as LlamaIndex's file of questions: queries, corpus, relevant_docs"]


def test_the_order_of_its_keys_does_not_matter(tmp_path: Path) -> None:
    for keys in (["mode", "relevant_docs", "corpus", "queries"], ["corpus", "queries", "relevant_docs"]):
        assert is_question_file(written(tmp_path, {key: FILE[key] for key in keys}), TextForm())


def test_rows_of_such_columns_are_no_file_of_questions(tmp_path: Path) -> None:
    rows = [{"queries": "a", "corpus": "b"}, {"queries": "c", "corpus": "d"}]
    lines = tmp_path / "lines.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for path in (str(lines), written(tmp_path, rows, "array.json")):
        source = PairFiles("x", path, path, anchor="queries", positive="corpus")

        assert list(source.problems()) == []
        assert source.training_pairs()["positive"][:] == ["b", "d"]


def test_it_goes_with_other_files(tmp_path: Path) -> None:
    path = written(tmp_path)
    other = written(tmp_path, [{"anchor": "a", "positive": "p"}], "other.json")

    widened = PairFiles("x", None, path, documents=[other]).retrieval_set()
    assert {"x0-0": "p"}.items() <= widened.corpus.items()
    assert len(widened.corpus) == 4
    assert set(PairFiles("x", None, other, documents=[path]).retrieval_set().corpus.values()) == {
        "p",
        *FILE["corpus"].values(),
    }
    dev = PairFiles("x", other, other, dev=path).dev_set()
    assert dev is not None
    assert len(dev.queries) == 2
    columns = PairFiles("x", path, other, anchor="anchor", negatives=["wrong"]).problems()
    assert [(key, "has no column 'wrong'; it is LlamaIndex's" in message) for key, message in columns] == [
        ("train", True)
    ]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no corpus": ({"corpus": None}, "corpus is no object of ids"),
    "a list of queries": ({"queries": ["a"]}, "queries is no object of ids"),
    "images": ({"mode": "image"}, "mode is 'image'; only files of texts"),
    "a number": ({"corpus": {"d1": 3}}, "corpus: 'd1' is 3, not a text"),
    "an empty text": ({"corpus": {"d1": "a", "d2": " "}}, "corpus, row 2: 'text' is empty"),
    "no texts": ({"corpus": {}}, "corpus: has no texts"),
    "an unknown query": ({"relevant_docs": {"q9": ["d1"]}}, "query 'q9' is not among the queries"),
    "an unknown document": ({"relevant_docs": {"q3": ["d9"]}}, "query 'q3' names document 'd9', which is not in the"),
    "one id": ({"relevant_docs": {"q3": "d1"}}, "query 'q3' has 'd1'; give a list of the ids"),
    "numbers for ids": ({"relevant_docs": {"q3": [1]}}, r"query 'q3' has \[1\]; give a list"),
    "no answers": ({"relevant_docs": {}}, "no query has a relevant document; name one"),
    "empty answers": ({"relevant_docs": {"q3": []}}, "no query has a relevant document; name one"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    changed, message = BROKEN[name]
    path = written(tmp_path, {**FILE, **changed})

    for read in (PairFiles("qa", path, path).retrieval_set, PairFiles("qa", path, path).training_pairs):
        with pytest.raises(DataError, match=f"qa.json.*{message}"):
            read()
