"""BM25 against its formula, term by term; stems, ties, and queries that find nothing."""

from __future__ import annotations

import logging
import math
import unicodedata

import bm25s
import pytest
import Stemmer
import torch

from matryoshka.config.binding import out_of_range
from matryoshka.config.signatures import parameters_of
from matryoshka.errors import UserError
from matryoshka.evaluation.bm25 import BM25, STOP_WORDS

DOCUMENTS = [
    "Die Zulage wird gekürzt, wenn der Zulageberechtigte den Mindesteigenbeitrag nicht leistet.",
    "Zulagen und Beiträge: Die Beiträge sind in § 5 geregelt, Zulagen in § 6.",
    "Das Haus steht am Wald; die Häuser im Dorf sind größer.",
    "ZULAGEN UND BEITRÄGE - die Beiträge sind in § 5 geregelt; Zulagen in § 6!",  # a copy of the second
    "Was ist das?",
    "...",
    "Ein langer Text über den Wald, den Hof, das Dorf, den Weg, die Brücke, den Fluss und noch einmal den Wald.",
]
QUERIES = [
    "Wann wird die Zulage gekürzt?",
    "Welcher Beitrag, welche Zulage, welcher Paragraph 6?",
    "Wald und Wälder, Wald",
    "Was ist das?",
    "",
    "Unbekanntes",
]
NONE = -torch.inf


def obvious(query: list[str], documents: list[list[str]], k1: float, b: float) -> list[float]:
    """Robertson's BM25 with Lucene's idf, which is above 0, and without the constant factor k1 + 1."""
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in query:
            having = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            often = document.count(word)
            score += often and idf * often / (often + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (1.2, 0.0), (0.0, 1.0)])
def test_scores_and_order_are_those_of_the_formula(k1: float, b: float) -> None:
    bm25 = BM25(k1=k1, b=b)
    hits = bm25.search(QUERIES, DOCUMENTS, 5)
    assert hits.documents_Qk.dtype == torch.int64
    assert hits.similarities_Qk.dtype == torch.float32
    assert hits.documents_Qk.shape == hits.similarities_Qk.shape == (6, 5)
    documents = bm25.words(DOCUMENTS)
    for row, query in enumerate(bm25.words(QUERIES)):
        scores = torch.tensor(obvious(query, documents, k1, b)).tolist()  # rounded to fp32, as hits are compared
        best = sorted((n for n, score in enumerate(scores) if score > 0), key=lambda n: (-scores[n], n))[:5]
        assert hits.documents_Qk[row].tolist() == best + [-1] * (5 - len(best))
        expected = torch.tensor([scores[n] for n in best] + [NONE] * (5 - len(best)))
        torch.testing.assert_close(hits.similarities_Qk[row], expected, rtol=1e-6, atol=0)
    assert (hits.documents_Qk[:, 0] >= 0).tolist() == [True, True, True, False, False, False]


def test_words_are_stems_without_stop_words() -> None:
    german = BM25()
    assert german.words(["Häuser im Haus", "Häusern!"]) == [["haus", "haus"], ["haus"]]
    assert german.words(["Was ist das?", ""]) == [[], []]
    assert german.words([unicodedata.normalize("NFD", "Kürzung")]) == german.words(["kürzung"]) == [["kurzung"]]
    assert german.words(["Straße 5"]) == german.words(["STRASSE (5)"])
    assert BM25("english").words(["the houses"]) == [["hous"]]
    assert BM25("hungarian").words(["az házak"])[0][0] == "az"  # no stop words known


def test_inflected_forms_find_each_other() -> None:
    hits = BM25().search(["In welchen Häusern?", "gekürzte Zulagen"], DOCUMENTS, 2)
    assert hits.documents_Qk[:, 0].tolist() == [2, 0]


def test_copies_are_equally_similar_and_rank_by_row() -> None:
    hits = BM25().search(["Zulagen und Beiträge", "Beitrag"], DOCUMENTS, 3)
    assert hits.documents_Qk[:, :2].tolist() == [[1, 3], [1, 3]]
    assert torch.equal(hits.similarities_Qk[:, 0], hits.similarities_Qk[:, 1])
    cut = BM25().search(["Zulagen und Beiträge"], ["Wald", *["Zulage"] * 50], 7)
    assert cut.documents_Qk.tolist() == [list(range(1, 8))]


def test_the_same_again() -> None:
    first, second = (BM25().search(QUERIES, DOCUMENTS, 10) for _ in range(2))
    assert torch.equal(first.documents_Qk, second.documents_Qk)
    assert torch.equal(first.similarities_Qk, second.similarities_Qk)
    assert first.documents_Qk.shape == (6, len(DOCUMENTS))  # k is cut


@pytest.mark.parametrize(("queries", "documents"), [(["Wald"], ["", "..."]), ([], ["Wald"]), (["Wald"], [])])
def test_nothing_to_find(queries: list[str], documents: list[str]) -> None:
    hits = BM25().search(queries, documents, 3)
    assert hits.documents_Qk.shape == (len(queries), len(documents[:3]))
    assert (hits.documents_Qk == -1).all()
    assert (hits.similarities_Qk == NONE).all()


def test_problems_name_what_there_is() -> None:
    assert not list(BM25().problems())
    (language,) = BM25("deutsch").problems()
    assert language[0] == "language"
    assert "'deutsch' has no stemmer" in language[1]
    assert "english" in language[1] and "german" in language[1]
    wrong = out_of_range("", vars(BM25("german", -1, 2)), parameters_of("matryoshka.evaluation.bm25.BM25"))
    assert [argument for argument, _ in wrong] == ["k1", "b"]
    with pytest.raises(UserError, match=r"bm25.language: 'deutsch'"):
        BM25("deutsch").search(["Wald"], ["Wald"], 1)


def test_stop_words_are_used_wherever_there_are_some() -> None:
    for language in Stemmer.algorithms():
        if language in STOP_WORDS:
            bm25s.tokenize([""], stopwords=language, show_progress=False)
        else:
            with pytest.raises(ValueError, match="not recognized"):
                bm25s.tokenize([""], stopwords=language, show_progress=False)


def test_nothing_is_printed_or_logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setLevel(logging.DEBUG)
    BM25().search(QUERIES, DOCUMENTS, 3)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
