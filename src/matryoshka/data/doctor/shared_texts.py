"""Texts that stand where they should not: held out and trained on, or in two held-out sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from matryoshka.data.doctor.diagnosis import CorpusCopies, HeldOutOverlap, Likeness, Match, Overlap, SharedText
from matryoshka.data.doctor.near_copies import NearTexts
from matryoshka.data.doctor.training_texts import CopyCounts
from matryoshka.data.layouts import NEGATIVES, POSITIVES
from matryoshka.data.pools import Pools
from matryoshka.data.retrieval_set import RetrievalSet

Normalise = Callable[[str], str]
LIKENESSES: tuple[Likeness, ...] = ("exact", "normalised", "near")


@dataclass(frozen=True)
class TrainingTexts:
    """Columns of training texts, as they are and normalised, and where each text stands first: (row, column).

    further: of each row the other texts that it is drawn from, normalised.
    """

    texts: Mapping[str, Sequence[str]]
    normal: Mapping[str, Sequence[str]]
    first: Mapping[str, tuple[int, str]]
    first_normal: Mapping[str, tuple[int, str]]
    near: NearTexts | None = None
    further: Sequence[Sequence[str]] = ()

    @classmethod
    def of(
        cls,
        texts: Mapping[str, Sequence[str]],
        normalise: Normalise,
        near: NearTexts | None = None,
        pools: Pools | None = None,
    ) -> TrainingTexts:
        """Index the columns; near: where given, every text is added to it. pools: further texts of the rows."""
        normal = {column: list(map(normalise, rows)) for column, rows in texts.items()}
        first, first_normal = _first_places(texts), _first_places(normal)
        further: list[list[str]] = []
        for row, drawn_from in enumerate(_pooled(pools) if pools else (), start=1):
            further.append([normalise(text) for _, text in drawn_from])
            for (side, text), plain in zip(drawn_from, further[-1], strict=True):
                first.setdefault(text, (row, side))
                first_normal.setdefault(plain, (row, side))
        if near:
            for text in first_normal:
                near.add(text)
        return cls(texts, normal, first, first_normal, near, further)

    def match(self, name: str, text: str, normal: str) -> tuple[Match, str] | None:
        """Where a held-out text stands, the most alike one, and which normalised text that is; None for nowhere."""
        if text in self.first:
            return Match(name, text, *self.first[text], "exact"), normal
        if normal in self.first_normal:
            return Match(name, text, *self.first_normal[normal], "normalised"), normal
        if self.near and (found := self.near.nearest(normal)):
            return Match(name, text, *self.first_normal[found[0]], "near"), found[0]
        return None

    def rows_with(self, normal: set[str]) -> int:
        """Rows with any of these normalised texts."""
        if not normal:
            return 0
        rows = zip(*self.normal.values(), strict=True)
        both = ((*row, *more) for row, more in zip(rows, self.further, strict=True)) if self.further else rows
        return sum(not normal.isdisjoint(row) for row in both)


def overlap(texts: Mapping[str, str], training: TrainingTexts, normalise: Normalise, examples: int) -> Overlap:
    """The held-out texts, by id, that training rows have too."""
    found = [hit for name, text in texts.items() if (hit := training.match(name, text, normalise(text)))]
    by_likeness = {kind: [match for match, _ in found if match.likeness == kind] for kind in LIKENESSES}
    exact = len(by_likeness["exact"])
    return Overlap(
        texts=len(texts),
        exact=exact,
        normalised=exact + len(by_likeness["normalised"]),
        near=len(by_likeness["near"]) if training.near else None,
        rows=training.rows_with({normal for _, normal in found}),
        examples=tuple(chain(*by_likeness.values()))[:examples],
    )


def answers(data: RetrievalSet) -> dict[str, str]:
    """The documents that answer a query, in the order of the corpus."""
    relevant = {document for query in data.queries for document in data.grades[query]}
    return {document: text for document, text in data.corpus.items() if document in relevant}


def held_out_overlap(
    sets: tuple[str, str], first: RetrievalSet, second: RetrievalSet, normalise: Normalise, examples: int
) -> HeldOutOverlap:
    """The queries and right answers of the second set that stand among those of the first."""
    queries, shared_queries = _shared(first.queries, second.queries, normalise)
    found, shared_answers = _shared(answers(first), answers(second), normalise)
    return HeldOutOverlap(sets, queries, found, (*shared_queries, *shared_answers)[:examples])


def _shared(
    first: Mapping[str, str], second: Mapping[str, str], normalise: Normalise
) -> tuple[CopyCounts, list[SharedText]]:
    exact = set(first.values())
    ids: dict[str, str] = {}
    for name, text in first.items():
        ids.setdefault(normalise(text), name)
    shared = [SharedText((ids[key], name), text) for name, text in second.items() if (key := normalise(text)) in ids]
    return CopyCounts(sum(one.text in exact for one in shared), len(shared)), shared


def _first_places(columns: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, str]]:
    first: dict[str, tuple[int, str]] = {}
    for column, texts in columns.items():
        for row, text in enumerate(texts, start=1):
            first.setdefault(text, (row, column))
    return first


def _pooled(pools: Pools) -> Iterator[list[tuple[str, str]]]:
    """Of each row the side and the text of all that it is drawn from."""
    sides = ((POSITIVES, pools.positives), (NEGATIVES, pools.negatives))
    for row in range(len(pools)):
        yield [(side, pools.texts[number]) for side, pool in sides for number in pool.of(row)]


def corpus_copies(data: RetrievalSet, normalise: Callable[[str], str]) -> CorpusCopies:
    """Count them, in one pass over the corpus and one over the judgements."""
    exact = {document: (data.searched_part(document), text) for document, text in data.corpus.items()}
    normal = {document: (part, normalise(text)) for document, (part, text) in exact.items()}
    having, having_exactly = Counter(normal.values()), Counter(exact.values())
    right = [(query, document) for query in data.queries for document in data.grades[query]]
    right_with = Counter((query, normal[document]) for query, document in right)
    right_with_exactly = Counter((query, exact[document]) for query, document in right)
    queries_with = Counter(text for _, text in right_with)
    best = dict.fromkeys(data.queries, 0.0)
    for (query, text), count in right_with_exactly.items():
        best[query] = max(best[query], count / having_exactly[text])
    return CorpusCopies(
        documents=len(normal) - len(having),
        answers=len({query for (query, text), count in right_with.items() if count < having[text]}),
        mean=sum(having[normal[document]] - 1 for _, document in right) / len(right),
        best_accuracy=sum(best.values()) / len(best),
        sharing=len({query for query, text in right_with if queries_with[text] > 1}),
    )
