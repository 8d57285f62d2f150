"""A data set shaped like the card's: ten rows share each passage, and every row brings its own copy of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from matryoshka.data.copies import normalised
from matryoshka.data.reading.rows import read_rows
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import Problem, set_of_pairs
from matryoshka.embedded.german_help import FOLDER

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_PER_PASSAGE = 10
EVALUATION_PASSAGES = 120
TRAINING_PASSAGES = 200
SHORTEST, LONGEST = 5, 9  # words of a query that is cut out of a passage
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class TenPerPassage:
    """The embedded German passages, each with its heading and nine runs of its own words as queries.

    Ten rows a passage, and as in the card's data every row is a document under an id of its own: the corpus holds ten
    copies of each passage, of which a query names one. Artificial: it shows what copies do to the figures.
    """

    name: str = "ten_per_passage"

    def problems(self) -> Iterator[Problem]:
        """None: the texts come with the package."""
        return iter(())

    def training_pairs(self) -> Dataset:
        """2,000 rows of 200 passages."""
        from datasets import Dataset

        queries, passages = _rows("train", TRAINING_PASSAGES)
        return Dataset.from_dict({"anchor": queries, "positive": passages})

    def retrieval_set(self) -> RetrievalSet:
        """1,200 queries over ten copies of each of 120 passages."""
        return set_of_pairs(self.name, *_rows("evaluation", EVALUATION_PASSAGES))

    def dev_set(self) -> RetrievalSet | None:
        """None of its own."""
        return None


def runs_of_words(passage: str) -> list[str]:
    """Each sentence in runs of 5 to 9 words that differ by one word in length at most; shorter sentences left out."""
    runs = []
    for sentence in SENTENCE_END.split(passage):
        words = sentence.split()
        if len(words) >= SHORTEST:
            count = -(-len(words) // LONGEST)
            ends = [len(words) * i // count for i in range(count + 1)]
            runs += [" ".join(words[start:end]) for start, end in pairwise(ends)]
    return runs


def _rows(file: str, most: int) -> tuple[list[str], list[str]]:
    """Queries and their passages, of the first passages with enough words for ten queries; no query comes twice."""
    queries: list[str] = []
    passages: list[str] = []
    taken: set[str] = set()
    for row in read_rows(str(FOLDER / f"{file}.jsonl")):
        candidates = {normalised(text): text for text in (row["anchor"], *runs_of_words(row["positive"]))}
        new = [text for text in candidates if text not in taken][:ROWS_PER_PASSAGE]
        if len(new) == ROWS_PER_PASSAGE and len(passages) < most * ROWS_PER_PASSAGE:
            taken.update(new)
            queries += [candidates[text] for text in new]
            passages += [row["positive"]] * ROWS_PER_PASSAGE
    return queries, passages
