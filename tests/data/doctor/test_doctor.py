"""The doctor finds what is planted, counts as slow loops do, and says nothing of clean data."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from matryoshka.config.binding import out_of_range
from matryoshka.config.signatures import parameters_of
from matryoshka.data.copies import normalised
from matryoshka.data.doctor.diagnosis import Diagnosis, Match, Overlap
from matryoshka.data.doctor.doctor import Doctor
from matryoshka.data.doctor.shared_texts import corpus_copies
from matryoshka.data.doctor.training_texts import CopyCounts
from matryoshka.data.mixture import MixedSet
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.samplers import BatchSummary
from matryoshka.embedded.german_help import FOLDER
from tests.data.doctor.read_back import read_back

QUIET = Doctor(languages=0)


def examined(
    doctor: Doctor, columns: Mapping[str, list[str]], held_out: Mapping[str, RetrievalSet] | None = None, **more: Any
) -> Diagnosis:
    counts = {column: np.full(len(texts), 5) for column, texts in columns.items()}
    more = {"max_seq_length": 32, **more}
    return doctor.examine(Dataset.from_dict(dict(columns)), counts, held_out=held_out or {}, **more)


def german_rows(file: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / file).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def german_texts() -> dict[str, list[str]]:
    rows = german_rows("train.jsonl")[:600]
    return {column: [row[column] for row in rows] for column in ("anchor", "positive")}


@pytest.fixture(scope="module")
def german_set() -> RetrievalSet:
    rows = german_rows("evaluation.jsonl")
    return RetrievalSet(
        "german_help",
        {f"q-{row['id']}": row["anchor"] for row in rows},
        {f"d-{row['id']}": row["positive"] for row in rows},
        {f"q-{row['id']}": frozenset([f"d-{row['id']}"]) for row in rows},
    )


def test_clean_german_data_give_no_warnings(german_texts: dict[str, list[str]], german_set: RetrievalSet) -> None:
    diagnosis = examined(Doctor(), german_texts, {"test": german_set}, batches=BatchSummary(19))

    assert diagnosis.warnings == ()
    assert (diagnosis.rows, diagnosis.repeated_rows) == (600, CopyCounts(0, 0))
    languages = diagnosis.columns["positive"].languages
    assert languages is not None
    assert (languages.sampled, languages.short) == (600, 0)
    assert languages.shares["de"] > 0.99


def test_leaks_planted_in_german_data_are_named(german_texts: dict[str, list[str]], german_set: RetrievalSet) -> None:
    queries, documents = list(german_set.queries.items()), list(german_set.corpus.items())
    texts = {column: rows.copy() for column, rows in german_texts.items()}
    texts["anchor"][122] = queries[7][1].upper() + " !"
    texts["positive"][344] = documents[400][1]

    diagnosis = examined(QUIET, texts, {"test": german_set})

    found = diagnosis.held_out["test"]
    query = Match(*queries[7], 123, "anchor", "normalised")
    answer = Match(*documents[400], 345, "positive", "exact")
    assert found.queries_in_training == Overlap(500, exact=0, normalised=1, near=None, rows=1, examples=(query,))
    assert found.answers_in_training == Overlap(500, exact=1, normalised=1, near=None, rows=1, examples=(answer,))
    assert len(diagnosis.warnings) == 2
    for warning, match in zip(diagnosis.warnings, (query, answer), strict=True):
        assert f"1 equal a training text, in 1 row (first: {match.id}, {match.column} of row {match.row})" in warning


def test_documents_that_answer_nothing_are_no_leak() -> None:
    corpus = {"d1": "die Antwort", "d2": "ein Text der Paare"}
    held_out = RetrievalSet("s", {"q": "Frage"}, corpus, {"q": frozenset(["d1"])})

    diagnosis = examined(QUIET, {"anchor": ["eins"], "positive": ["Ein Text der Paare."]}, {"test": held_out})

    assert diagnosis.held_out["test"].others_in_training.normalised == 1
    assert diagnosis.warnings == ()


def test_copies_of_other_case_and_punctuation_are_found() -> None:
    columns = {"anchor": ["Wer zahlt?", "wer  zahlt", "WER ZAHLT", "Wer zahlt?"], "positive": ["a", "b", "c", "A."]}

    diagnosis = examined(QUIET, columns)

    anchor = diagnosis.columns["anchor"]
    assert (anchor.distinct, anchor.copies) == (3, CopyCounts(exact=1, normalised=3))
    assert [(repeated.rows, repeated.first.row) for repeated in anchor.most_repeated] == [(4, 1)]
    assert diagnosis.repeated_rows == CopyCounts(exact=0, normalised=1)
    assert any("1 row whole copies of an earlier row" in warning for warning in diagnosis.warnings)


WORDS = ("der", "Der", "der.", "Notar", "notar", "zahlt", "…", "heute!")


def random_texts(rng: random.Random, count: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 3))) for _ in range(count)]


def random_set(rng: random.Random) -> RetrievalSet:
    queries = {f"q{i}": text for i, text in enumerate(random_texts(rng, 20))}
    corpus = {f"d{i}": text for i, text in enumerate(random_texts(rng, 60))}
    relevant = {query: frozenset(rng.sample(sorted(corpus), rng.randint(1, 3))) for query in queries}
    return RetrievalSet("s", queries, corpus, relevant)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_slow_loops(seed: int) -> None:
    rng = random.Random(seed)
    columns = {column: random_texts(rng, 70) for column in ("anchor", "positive", "negative_1")}
    sets = {"dev": random_set(rng), "test": random_set(rng)}

    diagnosis = examined(QUIET, columns, sets)

    for name, texts in columns.items():
        earlier = [(any(t == texts[j] for j in range(i)), alike(t, texts[:i])) for i, t in enumerate(texts)]
        assert diagnosis.columns[name].copies == CopyCounts(*map(sum, zip(*earlier, strict=True)))
        assert diagnosis.columns[name].wordless.count == sum(not any(c.isalnum() for c in text) for text in texts)
    same = [alike(a, [p]) for a, p in zip(columns["anchor"], columns["positive"], strict=True)]
    assert diagnosis.same_pairs.count == sum(same)
    rows = list(zip(*columns.values(), strict=True))
    repeated = sum(any(all(alike(a, [b]) for a, b in zip(row, old, strict=True)) for old in rows[:i]) for i, row in
                   enumerate(rows))  # fmt: skip
    assert diagnosis.repeated_rows.normalised == repeated
    for name, held_out in sets.items():
        check_held_out(diagnosis, name, held_out, rows)
    (between,) = diagnosis.between
    first, second = (list(data.queries.values()) for data in sets.values())
    assert between.queries == CopyCounts(
        sum(text in first for text in second), sum(alike(text, first) for text in second)
    )


def alike(text: str, others: list[str] | tuple[str, ...]) -> bool:
    return any(normalised(text) == normalised(other) for other in others)


def check_held_out(diagnosis: Diagnosis, name: str, data: RetrievalSet, rows: list[tuple[str, ...]]) -> None:
    found, trained = diagnosis.held_out[name], [text for row in rows for text in row]
    right = [document for document in data.corpus if any(document in data.relevant[query] for query in data.queries)]
    for part, texts in (
        (found.queries_in_training, list(data.queries.values())),
        (found.answers_in_training, [data.corpus[document] for document in right]),
        (found.others_in_training, [text for document, text in data.corpus.items() if document not in right]),
    ):
        leaked = [text for text in texts if alike(text, trained)]
        assert part.texts == len(texts)
        assert (part.exact, part.normalised) == (sum(text in trained for text in texts), len(leaked))
        assert part.rows == sum(any(alike(text, leaked) for text in row) for row in rows)
        for match in part.examples:
            place = rows[match.row - 1][list(diagnosis.columns).index(match.column)]
            assert (place == match.text) if match.likeness == "exact" else alike(place, [match.text])
    check_copies(diagnosis, name, data)


def check_copies(diagnosis: Diagnosis, name: str, data: RetrievalSet) -> None:
    copies, corpus = diagnosis.held_out[name].copies, data.corpus
    documents = list(corpus)
    assert copies.documents == sum(
        alike(corpus[d], [corpus[other] for other in documents[:i]]) for i, d in enumerate(documents)
    )
    others = {a: [b for b in documents if b != a and alike(corpus[a], [corpus[b]])] for a in documents}
    relevant = {query: data.relevant[query] for query in data.queries}
    assert copies.answers == sum(any(set(others[d]) - own for d in own) for own in relevant.values())
    assert copies.mean == pytest.approx(np.mean([len(others[d]) for own in relevant.values() for d in own]))
    best = [
        max(np.mean([other in own for other in documents if corpus[other] == corpus[d]]) for d in own)
        for own in relevant.values()
    ]
    assert copies.best_accuracy == pytest.approx(np.mean(best))
    assert copies.sharing == sum(
        any(alike(corpus[a], [corpus[b]]) for r, b in ((r, b) for r in relevant if r != q for b in relevant[r])
            for a in relevant[q])
        for q in relevant
    )  # fmt: skip


def test_a_copy_in_another_source_of_a_mixture_is_none() -> None:
    """Each query is asked of its own source's documents."""
    part = RetrievalSet("law", {"q": "Wer?"}, {"d": "Er.", "x": "Sie."}, {"q": frozenset(["d"])})
    copies = corpus_copies(MixedSet.of("both", {"law": part, "help": part}, {}), normalised)
    assert (copies.documents, copies.answers, copies.mean, copies.best_accuracy) == (0, 0, 0, 1)


def test_ten_copies_of_each_passage_leave_a_perfect_retriever_a_tenth() -> None:
    queries = {f"q{i}": f"Frage {i}" for i in range(40)}
    corpus = {f"d{i}": f"Text {i // 10}" for i in range(40)}
    held_out = RetrievalSet("s", queries, corpus, {f"q{i}": frozenset([f"d{i}"]) for i in range(40)})

    (warning,) = examined(QUIET, {"anchor": ["a"], "positive": ["b"]}, {"test": held_out}).warnings

    assert "right answers of 40 of 40 queries of test" in warning
    assert "cannot be expected above 0.10; read the merged figures" in warning


def test_warnings_come_worst_first() -> None:
    held_out = RetrievalSet("s", {"q": "eins"}, {"d": "Antwort"}, {"q": frozenset(["d"])})
    columns = {"anchor": ["eins", "zwei", "drei"], "positive": ["Text", "Zwei!", "..."]}
    batches = BatchSummary(3, extra=1, of_one_row=1, sharing=2, clashing=2)
    more = {"batches": batches, "max_seq_length": 5}

    diagnosis = examined(QUIET, columns, {"dev": held_out, "test": held_out}, **more)

    starts = ["of 1 queries of dev", "of 1 queries of test", "queries of test found in dev as well: 1", "2 rows in a"]
    starts += ["1 of 3 batches of one row", "1 row with the same text as anchor and positive (first: row 2)"]
    starts += [
        "1 positive text without a letter or digit (first: row 3)",
        "100% of anchor texts, 100% of positive texts",
    ]
    assert [warning.startswith(start) for warning, start in zip(diagnosis.warnings, starts, strict=True)] == [True] * 8
    assert len(examined(QUIET, columns, {"dev": held_out, "test": held_out}, masked=True, **more).warnings) == 7


def test_texts_as_long_as_the_limit_count_as_cut() -> None:
    tokens = np.array([3, 31, 32, 32, 1])
    pairs = Dataset.from_dict({"anchor": list("abcde"), "positive": list("fghij")})
    counts = {"anchor": tokens, "positive": tokens}

    diagnosis = QUIET.examine(pairs, counts, 32, {})

    lengths = diagnosis.columns["anchor"].lengths
    assert (lengths.cut, lengths.cut_share, lengths.longest, lengths.mean) == (2, 0.4, 32, pytest.approx(19.8))
    slow = [sum(low <= n < high for n in tokens) for low, high in zip(lengths.edges, lengths.edges[1:], strict=False)]
    assert list(lengths.counts) == slow
    assert sum(slow) == 5


def test_held_out_texts_that_are_cut_are_named() -> None:
    held_out = RetrievalSet("s", {"q": "eins"}, {"d": "Antwort"}, {"q": frozenset(["d"])})
    counts = {"test": {"queries": np.array([4]), "documents": np.array([32])}}

    diagnosis = examined(QUIET, {"anchor": ["a"], "positive": ["b"]}, {"test": held_out}, held_out_counts=counts)

    (warning,) = diagnosis.warnings
    assert warning.startswith("100% of test documents reach 32 tokens")
    assert diagnosis.held_out["test"].lengths["queries"].cut == 0


def test_mixed_languages_are_named() -> None:
    german = [f"Wie füge ich dem Dokument mit der Nummer {i} eine Seitenzahl hinzu?" for i in range(60)]
    english = [f"How do I add a page number to the document that has the number {i}?" for i in range(40)]
    columns = {
        "anchor": german + english,
        "positive": ["kurz", *(f"Das ist die Antwort Nummer {i}." for i in range(99))],
    }

    diagnosis = examined(Doctor(), columns)

    assert diagnosis == examined(Doctor(), columns)
    anchor, positive = (column.languages for column in diagnosis.columns.values())
    assert anchor is not None
    assert positive is not None
    assert anchor.shares == {"de": 0.6, "en": 0.4}
    assert (positive.short, positive.sampled) == (1, 100)
    (warning,) = diagnosis.warnings
    assert warning.startswith("anchor texts in more than one language (de 60%, en 40% of 100 judged)")
    sampled = examined(Doctor(languages=20), columns).columns["anchor"].languages
    assert sampled is not None
    assert sampled.sampled == 20


def test_a_diagnosis_comes_back_from_json() -> None:
    rng = random.Random(5)
    columns = {column: random_texts(rng, 30) for column in ("anchor", "positive")}
    batches = BatchSummary(4, clashing=1)
    counts = {"dev": {"queries": np.array([3, 32])}}
    sets = {"dev": random_set(rng), "test": random_set(rng)}

    diagnosis = examined(Doctor(near_copies=0.5), columns, sets, batches=batches, held_out_counts=counts)

    again = read_back(json.loads(json.dumps(asdict(diagnosis))))
    assert again == diagnosis
    assert asdict(again) == asdict(diagnosis)
    assert isinstance(again.batches, BatchSummary)


@pytest.mark.parametrize(
    ("doctor", "keys"),
    [
        (Doctor(), []),
        (Doctor(near_copies=1.0), []),
        (Doctor(near_copies=0.0), ["near_copies"]),
        (Doctor(near_copies=80), ["near_copies"]),
        (Doctor(languages=-1, examples=-1), ["languages", "examples"]),
    ],
)
def test_arguments_that_mean_nothing_are_problems(doctor: Doctor, keys: list[str]) -> None:
    wrong = out_of_range("", asdict(doctor), parameters_of("matryoshka.data.doctor.doctor.Doctor"))
    assert [key for key, _ in wrong] == keys
