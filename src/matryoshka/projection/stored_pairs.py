"""Pairs of vectors that are stored already, without the texts and the encoder that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge

from matryoshka.data.copies import components
from matryoshka.data.pairs import drawn_pairs
from matryoshka.data.ranges import Count
from matryoshka.data.reading.rows import first_row, missing_column, read_rows
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError
from matryoshka.projection.vector_files import shape_of

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.sources import Problem

HELD_OUT, AT_MOST = 0.1, 1000  # share of the pairs and pairs, where no evaluation file says which to report on
Rows = Annotated[int, Ge(2), "100000; null to search all documents"]


@dataclass(frozen=True)
class VectorFiles:
    """Vectors of questions and of documents in two files, and which document answers which question.

    queries, documents: .npy, .npz or .parquet, float32 or float16, as wide as each other; they are mapped, never read
    whole. pairs, evaluation: files of rows (CSV, JSON lines, Parquet) whose columns `query` and `document` hold row
    numbers, from 0. evaluation: what is reported on; None: a tenth of the pairs, 1,000 at most, held out by groups
    that share a row. corpus_at_most: documents that are searched, the answers and others by chance; None: all.

    A source like any other: a text of it is the number of a row, as in "document 7".
    """

    name: str
    queries: str
    documents: str
    pairs: str
    evaluation: str | None = None
    query: str = "query"
    document: str = "document"
    corpus_at_most: Rows | None = 100_000
    pairs_at_most: Count | None = None

    def problems(self) -> Iterator[Problem]:
        """Files that cannot be read, vectors of two widths, columns that are missing."""
        widths = {}
        for key in ("queries", "documents"):
            try:
                widths[key] = shape_of(getattr(self, key))[1]
            except DataError as error:
                yield key, str(error)
        if len(set(widths.values())) > 1:
            yield (
                "documents",
                f"{self.documents} has vectors of {widths['documents']} numbers and {self.queries} of "
                f"{widths['queries']}; both must be of one encoder",
            )
        for key in ("pairs", "evaluation"):
            if (path := getattr(self, key)) is not None:
                yield from self._row_problems(key, path)

    @cached_property
    def width(self) -> int:
        """Numbers of a vector. Raises DataError if the file cannot be read."""
        return shape_of(self.documents)[1]

    def training_pairs(self) -> Dataset:
        """The pairs that are not held out, as texts like "query 3" and "document 7"."""
        from datasets import Dataset

        pairs = self._split[0]
        rows = Dataset.from_dict(
            {"anchor": [f"query {query}" for query, _ in pairs], "positive": [f"document {row}" for _, row in pairs]}
        )
        return drawn_pairs(rows, self.pairs_at_most)

    def retrieval_set(self) -> RetrievalSet:
        """The held-out pairs, over the documents."""
        held_out = self._split[1]
        answers: dict[str, set[str]] = {}
        for query, document in held_out:
            answers.setdefault(str(query), set()).add(str(document))
        return RetrievalSet(
            self.name,
            queries={query: f"query {query}" for query in answers},
            corpus={str(row): f"document {row}" for row in self._searched({row for _, row in held_out})},
            relevant={query: frozenset(rows) for query, rows in answers.items()},
        )

    def _searched(self, answers: set[int]) -> Sequence[int]:
        """The documents that are searched, by row."""
        rows = shape_of(self.documents)[0]
        if self.corpus_at_most is None or rows <= self.corpus_at_most:
            return range(rows)
        drawn = np.random.default_rng(0).permutation(rows)[: self.corpus_at_most].tolist()
        others = [row for row in drawn if row not in answers]
        return sorted([*answers, *others[: max(0, self.corpus_at_most - len(answers))]])

    @cached_property
    def _split(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The pairs to fit on and those to report on."""
        pairs = self._read(self.pairs)
        if self.evaluation is not None:
            return pairs, self._read(self.evaluation)
        groups = components([(f"q{query}", f"d{document}") for query, document in pairs])
        most, held_out = min(max(1, round(HELD_OUT * len(pairs))), AT_MOST), set[int]()
        for number in np.random.default_rng(0).permutation(len(groups)).tolist():
            if len(held_out) + len(groups[number]) <= most:
                held_out.update(groups[number])
        if not held_out or len(held_out) > len(pairs) - 2:
            raise DataError(f"{self.pairs}: no pairs can be held out of {len(pairs)}; give data.evaluation=<file>")
        sides: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for number, pair in enumerate(pairs):
            sides[number in held_out].append(pair)
        return sides

    def _read(self, path: str) -> list[tuple[int, int]]:
        """The file's pairs of row numbers. Raises DataError for one that names no row."""
        counts = {self.query: shape_of(self.queries)[0], self.document: shape_of(self.documents)[0]}
        rows, numbers = read_rows(path, columns=list(counts)), []
        for column, count in counts.items():
            cells = rows[column][:]
            read = [_number(value) for value in cells]
            for line, number in enumerate(read, start=1):
                if number is None or not 0 <= number < count:
                    said = cells[line - 1]
                    raise DataError(
                        f"{path}, row {line}: {column} {said!r} names no row; there are {count:,}, counted from 0"
                    )
            numbers.append([number for number in read if number is not None])
        return list(zip(*numbers, strict=True))

    def _row_problems(self, key: str, path: str) -> Iterator[Problem]:
        try:
            row = first_row(path, columns=[self.query, self.document])
        except DataError as error:
            yield key, str(error)
            return
        for column in (self.query, self.document):
            if column not in row:
                yield key, f"{path} {missing_column(column, list(row))}"


def row_numbers(texts: Sequence[str]) -> list[int]:
    """The rows that these texts stand for: 7 of "document 7"."""
    return [int(text.rpartition(" ")[2]) for text in texts]


def _number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
