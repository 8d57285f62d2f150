"""Which pairs are trained on, which queries choose the checkpoint, and on which it is reported."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Lt

from matryoshka.data.copies import components, normalised
from matryoshka.data.pairs import texts_and_numbers
from matryoshka.data.ranges import Seed
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.pools import Pools
    from matryoshka.data.sources import Source

Prompts = Mapping[str, str]  # "query" and "document" -> what stands before such texts


@dataclass(frozen=True)
class Split:
    """The three sides of an experiment.

    pairs: the texts to train on. dev: what the checkpoint is selected on; None: on the test queries. test: what is
    reported. label: a sentence that says so, for whoever reads a figure. rows: the numbers that the pairs have among
    all training pairs of the source; None: all of them are there. numbers: those of the pairs' candidates, if any.
    pools: all positives and negatives of each row, where an epoch draws some; pairs have the first of each. notes:
    lines on how the source was read.
    prompts: before queries and documents, where they are others than the encoder's.
    """

    pairs: Dataset
    dev: RetrievalSet | None
    test: RetrievalSet
    label: str
    rows: Sequence[int] | None = None
    numbers: Dataset | None = None
    pools: Pools | None = None
    notes: Sequence[str] = ()
    prompts: Prompts = field(default_factory=dict)

    def source_row(self, row: int) -> int:
        """The number, from 1, that one of the pairs has in the source."""
        return 1 + (row if self.rows is None else self.rows[row])

    def place(self, row: int) -> int | str:
        """Where one of the pairs stands, for a person."""
        return self.source_row(row)


class DevOfTrain:
    """The source's own dev set; where it has none, dev queries held out of the training pairs.

    share, at_most: of the rows, how many become dev rows; fewer where no further group of rows fits. seed: draws them.
    """

    def __init__(
        self,
        share: Annotated[float, Gt(0), Lt(1), "{} is not between 0 and 1; use for example 0.1"] = 0.1,
        at_most: Annotated[int, Ge(1), "{} is not at least 1; use split=same for no dev queries"] = 200,
        seed: Seed = 42,
    ) -> None:
        self.share = share
        self.at_most = at_most
        self.seed = seed

    def split(self, source: Source) -> Split:
        """Train, dev and test. Rows that share a text, in whatever column, are on one side; texts are normalised.

        The dev corpus is the dev rows' passages and, so that the search is not too easy, the documents of the test set
        that answer none of its queries. Raises DataError if the rows hang together in groups too large to hold out.
        """
        given = source.training_pairs()
        pairs, numbers = texts_and_numbers(given, source.name)
        pools, test = _pools(given), source.retrieval_set()
        reported = f"reported on {len(test.queries)} test queries"
        own = source.dev_set() if hasattr(source, "dev_set") else None  # a source without one need not say so
        if own is not None:
            return Split(
                pairs,
                own,
                test,
                f"checkpoint selected on the data's {len(own.queries)} dev queries, {reported}",
                numbers=numbers,
                pools=pools,
                notes=_notes(source),
            )
        dev_rows = self._drawn(_groups(pairs, pools), source.name)
        held_out = set(dev_rows)
        dev = _dev_set(f"{source.name} (dev)", dev_rows, pairs, pools, test)
        rows = [row for row in range(len(pairs)) if row not in held_out]
        selected = f"checkpoint selected on {len(dev.queries)} dev queries that share no text with the training pairs"
        numbers = None if numbers is None else numbers.select(rows)
        pools = None if pools is None else pools.select(rows)
        return Split(pairs.select(rows), dev, test, f"{selected}, {reported}", rows, numbers, pools, _notes(source))

    def _drawn(self, groups: Sequence[Sequence[int]], name: str) -> list[int]:
        """The rows of whole groups, drawn by the seed, in their order."""
        rows = sum(map(len, groups))
        left = most = min(max(1, round(self.share * rows)), self.at_most, rows - 1)
        drawn: list[int] = []
        for number in random.Random(self.seed).sample(range(len(groups)), len(groups)):
            if len(groups[number]) <= left:
                drawn += groups[number]
                left -= len(groups[number])
        if not drawn:
            smallest = min(map(len, groups), default=0)
            raise DataError(
                f"{name}: no dev queries can be held out of {rows} training pairs. Pairs that share a text stay on one "
                f"side, and the smallest group of them has {smallest}, where at most {most} are to be held out. Use "
                "data.dev=<file> (data.dev_split=<split> of a hub set or a BEIR folder), split=same, or a larger "
                "split.share"
            )
        return sorted(drawn)


class SameSet:
    """One set both for selecting the checkpoint and for reporting, as in the card; all pairs are trained on."""

    def split(self, source: Source) -> Split:
        """Train and test."""
        label = "checkpoint selected on the very queries it is reported on, as in the card: the figures are optimistic"
        given = source.training_pairs()
        pairs, numbers = texts_and_numbers(given, source.name)
        test, pools = source.retrieval_set(), _pools(given)
        return Split(pairs, None, test, label, numbers=numbers, pools=pools, notes=_notes(source))


def _pools(rows: Dataset) -> Pools | None:
    from matryoshka.data.pools import Pools  # it loads what a check of arguments can do without

    return Pools.of(rows)


def _notes(source: Source) -> tuple[str, ...]:
    return tuple(getattr(source, "read_as", tuple)())  # a source that has nothing to tell need not say so


def _groups(pairs: Dataset, pools: Pools | None = None) -> list[list[int]]:
    """Row numbers of the pairs, those together that are linked by equal texts (see copies.normalised)."""
    columns = [pairs[column][:] for column in pairs.column_names]
    distinct = dict.fromkeys(text for column in columns for text in column)
    distinct |= dict.fromkeys(pools.texts if pools else ())
    same = {text: normalised(text) for text in distinct}  # once each: a passage may answer many questions
    rows = [[same[text] for text in row] for row in zip(*columns, strict=True)]
    if pools:
        for row, texts in enumerate(rows):
            texts += (same[text] for text in pools.texts_of(row))
    return components(rows)


def _dev_set(name: str, rows: Sequence[int], pairs: Dataset, pools: Pools | None, test: RetrievalSet) -> RetrievalSet:
    """The rows as queries and documents, named by their numbers, each distinct text once; and the test set's rest."""
    query_of, document_of, relevant = dict[str, str](), dict[str, str](), dict[str, set[str]]()
    for row, pair in zip(rows, pairs.select(rows), strict=True):
        query = query_of.setdefault(pair["anchor"], f"q-{row}")
        for i, text in enumerate(dict.fromkeys(pools.positives_of(row)) if pools else [pair["positive"]]):
            document = document_of.setdefault(text, f"d-{row}-{i}" if i else f"d-{row}")
            relevant.setdefault(query, set()).add(document)
    answers = frozenset().union(*(test.grades[query] for query in test.queries))
    for document, text in test.corpus.items():
        if document not in answers:
            document_of.setdefault(text, f"x-{document}")
    return RetrievalSet(
        name,
        queries={query: text for text, query in query_of.items()},
        corpus={document: text for text, document in document_of.items()},
        relevant={query: frozenset(documents) for query, documents in relevant.items()},
    )
