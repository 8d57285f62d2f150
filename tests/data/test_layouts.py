"""Which columns a file's layout has: named, or known by their names; and what is told of it."""

from __future__ import annotations

import pytest

from matryoshka.data.layouts import Wanted, document_column, layout_of, row_problems
from matryoshka.errors import DataError

KNOWN = Wanted(negatives=None)


@pytest.mark.parametrize(
    ("columns", "anchor", "positive", "negatives", "label", "kind"),
    [
        ("anchor positive", "anchor", "positive", (), None, ""),
        ("anchor positive negative", "anchor", "positive", ("negative",), None, "triplets"),
        ("id query positive negative", "query", "positive", ("negative",), None, "triplets"),
        (
            "positive negative_10 negative_2 anchor",
            "anchor",
            "positive",
            ("negative_2", "negative_10"),
            None,
            "n-tuples",
        ),
        ("query pos neg", "query", "pos", ("neg",), None, "FlagEmbedding rows"),
        ("query pos", "query", "pos", (), None, "FlagEmbedding rows"),
        ("question answer", "question", "answer", (), None, "pairs"),
        ("query passage", "query", "passage", (), None, "pairs"),
        ("sentence1 sentence2", "sentence1", "sentence2", (), None, "pairs"),
        ("sentence1 sentence2 label", "sentence1", "sentence2", (), "label", "labelled pairs"),
        ("sentence1 sentence2 score", "sentence1", "sentence2", (), "score", "labelled pairs"),
        ("question answer label", "question", "answer", (), "label", "labelled pairs"),
        ("question answer score", "question", "answer", (), None, "pairs"),  # of votes, more often than of a teacher
        ("anchor positive label", "anchor", "positive", (), "label", "labelled pairs"),
        ("frage antwort", "anchor", "positive", (), None, ""),  # and is refused by what reads the columns
    ],
)
def test_columns_are_found(
    columns: str, anchor: str, positive: str, negatives: tuple[str, ...], label: str | None, kind: str
) -> None:
    found = layout_of(columns.split(), KNOWN, "my.jsonl")

    assert (found.anchor, found.positive, found.negatives, found.label) == (anchor, positive, negatives, label)
    assert found.kind == kind


def test_what_is_told() -> None:
    assert layout_of(["query", "pos", "neg"], KNOWN, "f").said == "read as FlagEmbedding rows (query, pos, neg)"
    many = ["anchor", "positive", *(f"negative_{i}" for i in range(1, 9))]
    assert (
        layout_of(many, KNOWN, "f").said
        == "read as n-tuples (anchor, positive, negative_1, negative_2, ..., negative_8)"
    )
    assert layout_of(["anchor", "positive"], KNOWN, "f").said == ""


def test_what_is_named_is_taken() -> None:
    columns = ["query", "pos", "neg", "question", "answer", "wrong"]
    found = layout_of(columns, Wanted("question", "answer", ["wrong"]), "f")
    assert (found.anchor, found.positive, found.negatives, found.kind) == ("question", "answer", ("wrong",), "")
    assert layout_of(["anchor", "positive", "negative"], Wanted(negatives=()), "f").negatives == ()
    missing = layout_of(["query", "passage"], Wanted("frage", "passage"), "f")  # another name is never taken for it
    assert (missing.anchor, missing.positive) == ("frage", "passage")


def test_two_pairs_of_known_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"f has question, answer, passage, query; say which are meant: data.anchor="):
        layout_of(["question", "answer", "query", "passage"], KNOWN, "f")
    (problem,) = row_problems(dict.fromkeys(["question", "answer", "query", "passage"], "x"), KNOWN, "f")
    assert problem.startswith("f has question")


def test_a_first_row_lacks_columns_or_texts() -> None:
    assert list(row_problems({"query": "q", "pos": ["p"], "neg": []}, KNOWN, "f")) == []
    (empty,) = row_problems({"query": "q", "pos": [], "neg": ["n"]}, KNOWN, "f")
    assert empty == "f: column 'pos' of the first row is empty; every row needs a text"
    assert len(list(row_problems({"frage": "q"}, KNOWN, "f"))) == 2
    measured = {"anchor": "q", "positive": "p"}
    assert list(row_problems(measured, Wanted(negatives=["wrong"], label="label"), "f", measured=True)) == []


def test_the_documents_column() -> None:
    assert document_column(["query", "pos"], "positive") == "pos"
    assert document_column(["passage"], "positive") == "passage"
    assert document_column(["text"], "positive") == "positive"
    assert document_column(["passage"], "absatz") == "absatz"
