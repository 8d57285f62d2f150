"""Near copies found by MinHash are those that comparing every pair finds, where it is clear that they are."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from datasets import Dataset

from matryoshka.data.doctor.doctor import Doctor
from matryoshka.data.doctor.near_copies import NearTexts, jaccard, shingles, signatures
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import UserError

THRESHOLD = 0.6


def texts_with_near_copies(count: int = 40, words: int = 60) -> list[str]:
    """Every second text is the one before it with one word changed; all others have nothing in common."""
    rng = random.Random(3)
    texts = []
    for i in range(count):
        text = [f"wort{i}x{rng.randrange(10**6)}" for _ in range(words)]
        changed = text.copy()
        changed[rng.randrange(words)] = "anders"
        texts += [" ".join(text), " ".join(changed)]
    rng.shuffle(texts)
    return texts


def test_shingles_are_runs_of_three_words() -> None:
    assert shingles("Der Notar, der zahlt!") == {"der notar der", "notar der zahlt"}
    assert shingles("Der Notar") == {"der notar"}
    assert jaccard(shingles("a b c d"), shingles("a b c e")) == pytest.approx(1 / 3)


def test_near_copies_are_those_of_every_pair() -> None:
    texts = texts_with_near_copies()
    every = np.array([[jaccard(a, b) for b in map(shingles, texts)] for a in map(shingles, texts)])
    assert not ((every > 0.3) & (every < 0.85)).any()  # a clear margin on both sides of the threshold
    near = NearTexts(THRESHOLD, signatures())

    for i, text in enumerate(texts):
        found = near.nearest(text)
        best = int(every[i, :i].argmax()) if i and every[i, :i].max() >= THRESHOLD else None
        assert found == (None if best is None else (texts[best], every[i, best]))
        near.add(text)


def test_near_copies_and_near_leaks_are_named_and_copies_are_not_near() -> None:
    first = " ".join(f"wort{i}" for i in range(50))
    other, third = first.replace("wort20 ", "anders "), first.replace("wort45", "neu")
    columns = {"anchor": ["eins", "zwei", "drei", "vier"], "positive": [first, first.upper(), "kein Wort davon", other]}
    held_out = RetrievalSet("s", {"q": "Frage"}, {"d": third, "e": first}, {"q": frozenset(["d"])})
    counts = {column: np.full(4, 5) for column in columns}

    diagnosis = Doctor(near_copies=0.7, languages=0).examine(Dataset.from_dict(columns), counts, 32, {"test": held_out})

    found = diagnosis.columns["positive"].near_copies
    assert found is not None
    ((pair,), found_texts) = (found.examples, found.texts)
    assert (found_texts, pair.later.row, pair.earlier.row) == (1, 4, 1)
    assert pair.jaccard == pytest.approx(jaccard(shingles(first), shingles(other)))
    leak = diagnosis.held_out["test"].answers_in_training
    assert (leak.exact, leak.normalised, leak.near, leak.found, leak.rows) == (0, 0, 1, 1, 2)
    assert diagnosis.held_out["test"].others_in_training.near == 0
    assert any("0 equal a training text, 1 nearly, in 2 rows (first: d, " in line for line in diagnosis.warnings)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)

    (problem,) = Doctor(near_copies=0.8).problems()
    with pytest.raises(UserError, match=r"pip install matryoshka\[near-copies\]"):
        signatures()

    assert problem[0] == "near_copies"
    assert "pip install matryoshka[near-copies]" in problem[1]
