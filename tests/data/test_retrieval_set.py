"""Queries without an answer are dropped, sets without any are refused, equal sets have equal hashes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import pytest

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError

QUERIES = {"q1": "Wer?", "q2": "Wann?"}
CORPUS = {"d1": "Der Notar", "d2": "Morgen", "d3": "Nie"}
RELEVANT = {"q1": frozenset({"d1", "d3"}), "q2": frozenset({"d2"})}


def retrieval_set(
    queries: Mapping[str, str] = QUERIES,
    corpus: Mapping[str, str] = CORPUS,
    relevant: Mapping[str, Collection[str]] = RELEVANT,
) -> RetrievalSet:
    return RetrievalSet("s", queries, corpus, relevant)


def test_queries_without_a_relevant_document_are_dropped() -> None:
    queries = {"q0": "Was?", **QUERIES, "q9": "Wie?"}

    assert dict(retrieval_set(queries, relevant={**RELEVANT, "q9": frozenset()}).queries) == QUERIES
    assert set(queries) == {"q0", "q1", "q2", "q9"}


@pytest.mark.parametrize("relevant", [{}, {"q1": frozenset[str]()}, {"q7": frozenset({"d1"})}])
def test_a_set_without_any_answer_is_refused(relevant: dict[str, frozenset[str]]) -> None:
    with pytest.raises(DataError, match="s: no query has a relevant document"):
        retrieval_set(relevant=relevant)


def test_an_answer_outside_the_corpus_is_named() -> None:
    with pytest.raises(DataError, match="s: query 'q2' names document 'd8', which is not in the corpus"):
        retrieval_set(relevant={"q1": frozenset({"d1"}), "q2": frozenset({"d2", "d9", "d8"})})


def test_answers_of_dropped_queries_do_not_matter() -> None:
    assert dict(retrieval_set(relevant={**RELEVANT, "q7": frozenset({"d9"})}).queries) == QUERIES


def test_grades_are_those_given_or_1() -> None:
    found = retrieval_set(relevant={"q1": {"d1": 3, "d2": 0, "d3": -1}, "q2": frozenset({"d2"}), "q3": {"d1": 0}})

    assert found.grades == {"q1": {"d1": 3}, "q2": {"d2": 1}, "q3": {}}
    assert found.graded
    assert not retrieval_set(relevant={"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 1}}).graded


def test_a_query_with_no_grade_above_0_is_dropped() -> None:
    assert dict(retrieval_set(relevant={"q1": {"d1": 2}, "q2": {"d2": 0, "d1": -2}}).queries) == {"q1": "Wer?"}
    assert dict(retrieval_set(relevant={"q1": {"d1": 2, "d9": 0}}).queries) == {"q1": "Wer?"}  # d9 is no answer


@pytest.mark.parametrize("grade", [0.5, 2.0, float("nan"), float("inf"), 2**31])
def test_a_grade_that_trec_eval_cannot_read_is_refused(grade: float) -> None:
    with pytest.raises(DataError, match=f"s: query 'q1' has the grade {grade}, no whole number up to 2147483647"):
        retrieval_set(relevant={"q1": {"d1": grade}})


def test_a_copy_with_other_texts_keeps_its_grades() -> None:
    graded = retrieval_set(relevant={"q1": {"d1": 3}})

    assert replace(graded, name="another").grades == {"q1": {"d1": 3}}


def test_equal_sets_have_equal_fingerprints() -> None:
    again = retrieval_set(dict(QUERIES), dict(CORPUS), {"q2": frozenset({"d2"}), "q1": frozenset({"d3", "d1"})})

    assert again.fingerprint == retrieval_set().fingerprint
    ones = retrieval_set(relevant={"q1": {"d1": 1, "d3": 1, "d2": 0}, "q2": {"d2": 1}})
    assert ones.fingerprint == retrieval_set().fingerprint
    assert replace(again, name="another").fingerprint == retrieval_set().fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        lambda: retrieval_set({**QUERIES, "q1": "Wer!"}),
        lambda: retrieval_set({"q1": "Wer?", "Q2": "Wann?"}, relevant={"q1": RELEVANT["q1"], "Q2": RELEVANT["q2"]}),
        lambda: retrieval_set(corpus={**CORPUS, "d3": "Nie."}),
        lambda: retrieval_set(corpus={**CORPUS, "d4": "Nie"}),
        lambda: retrieval_set(corpus={"d1": "Der Notar", "d2": "Morgen Nie", "d3": ""}),
        lambda: retrieval_set(relevant={**RELEVANT, "q2": frozenset({"d3"})}),
        lambda: retrieval_set(relevant={"q1": RELEVANT["q1"]}),
        lambda: retrieval_set(relevant={**RELEVANT, "q2": {"d2": 2}}),
        lambda: retrieval_set(relevant={"q1": {"d1": 2, "d3": 2}, "q2": {"d2": 2}}),
    ],
)
def test_any_change_changes_the_fingerprint(changed: Callable[[], RetrievalSet]) -> None:
    assert changed().fingerprint != retrieval_set().fingerprint


def test_where_an_id_ends_and_its_text_begins_matters() -> None:
    one = retrieval_set(corpus={"d1": "x", "d2": "a", "d3 b": "c"}, relevant={"q1": frozenset({"d1"})})
    other = retrieval_set(corpus={"d1": "x", "d2": "a", "d3": "b c"}, relevant={"q1": frozenset({"d1"})})

    assert one.fingerprint != other.fingerprint


def test_broken_characters_have_a_fingerprint_too() -> None:
    assert len(retrieval_set(corpus={**CORPUS, "d3": "\ud800"}).fingerprint) == 64
