"""A retrieval set of letters for the tiny encoder: copies, several answers, a text that asks and answers."""

from __future__ import annotations

from matryoshka.data.retrieval_set import RetrievalSet

WORDS = ("steuer", "notar", "miete", "erbe", "kauf", "frist", "gericht", "pfand", "hof", "wald")


def small_set(name: str = "letters") -> RetrievalSet:
    """Ten queries, one more without an answer, over 26 documents of which some are copies."""
    corpus = {f"d{i:02d}": f"die {WORDS[i % 10]} und {WORDS[(3 * i + 1) % 10]} nr {i}" for i in range(20)}
    corpus |= {f"c{i:02d}": corpus[f"d{i:02d}"] for i in range(5)}  # sort before those they are copies of
    corpus["z"] = "was ist miete?"
    queries = {f"q{i}": f"was ist {word}?" for i, word in enumerate(WORDS)} | {"q-unanswered": "was?"}
    relevant = {f"q{i}": frozenset({f"d{i:02d}", f"d{i + 10:02d}"}) for i in range(10)}
    relevant["q1"] = frozenset({"d01", "c01", "d11", "d05"})
    relevant["q2"] = frozenset({"z"})
    return RetrievalSet(name, queries, corpus, relevant)
