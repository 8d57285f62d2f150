"""Several sources in one training: each batch is of one of them, and each is measured by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.split import DevOfTrain, Prompts, SameSet, Split
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.sources import Source


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How the sources of the group `sources` are mixed.

    weights: source -> its share of the batches against the others'; None: an epoch has each row once.
    prompts: source -> what stands before its queries and its documents; None, and what is not there: the encoder's.
    """

    name: str
    weights: Mapping[str, float] | None = None
    prompts: Mapping[str, Prompts] | None = None

    def of(self, sources: Mapping[str, Source]) -> MixedSources:
        """The mixture of these sources, by name."""
        return MixedSources(**vars(self), sources=sources)


@dataclass(frozen=True, kw_only=True)
class MixedSources(Mixture):
    """Several sources as one, with which the others' tasks can work."""

    sources: Mapping[str, Source]

    def training_pairs(self) -> Dataset:
        """The rows of all sources, one source after another. Raises DataError where their columns differ."""
        return _stacked({name: source.training_pairs() for name, source in self.sources.items()})

    def retrieval_set(self) -> MixedSet:
        """The test queries of every source."""
        sets = {name: source.retrieval_set() for name, source in self.sources.items()}
        return MixedSet.of(self.name, sets, self.prompts or {})

    def split_by(self, split: DevOfTrain | SameSet) -> MixedSplit:
        """Each source split by itself. Raises DataError where their columns differ."""
        own = self.prompts or {}
        splits = {name: replace(split.split(of), prompts=own.get(name, {})) for name, of in self.sources.items()}
        for name, part in splits.items():
            if part.pools is not None:
                raise DataError(
                    f"sources.{name}: its rows have lists of answers or negatives, which a mixture does not draw from; "
                    "write a row for each answer, with negatives in columns of their own"
                )
        devs = {name: part.dev for name, part in splits.items() if part.dev is not None}
        numbers = {name: part.numbers for name, part in splits.items() if part.numbers is not None}
        return MixedSplit(
            pairs=_stacked({name: part.pairs for name, part in splits.items()}),
            dev=MixedSet.of(f"{self.name} (dev)", devs, own) if len(devs) == len(splits) else None,
            test=MixedSet.of(self.name, {name: part.test for name, part in splits.items()}, own),
            label="; ".join(["the mean over sources selects", *(f"{n}: {part.label}" for n, part in splits.items())]),
            numbers=_stacked(numbers, of=splits) if numbers else None,
            notes=[f"{name}: {note}" for name, part in splits.items() for note in part.notes],
            sources=splits,
            weights=self.weights,
        )


@dataclass(frozen=True)
class MixedSet(RetrievalSet):
    """The queries and documents of several sets, `<source>/` before each id. Each query is asked of its own set alone.

    parts: the sets themselves. prompts: of the sources that have their own.
    """

    parts: Mapping[str, RetrievalSet] = field(default_factory=dict)
    prompts: Mapping[str, Prompts] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, parts: Mapping[str, RetrievalSet], prompts: Mapping[str, Prompts]) -> MixedSet:
        """All of these."""
        return cls(
            name,
            queries={f"{n}/{query}": text for n, part in parts.items() for query, text in part.queries.items()},
            corpus={f"{n}/{document}": text for n, part in parts.items() for document, text in part.corpus.items()},
            relevant={
                f"{n}/{query}": {f"{n}/{document}": grade for document, grade in part.grades[query].items()}
                for n, part in parts.items()
                for query in part.queries
            },
            parts=parts,
            prompts=prompts,
        )

    def searched_part(self, document: str) -> str:
        """The source, whose name has no slash."""
        return document.partition("/")[0]


@dataclass(frozen=True)
class MixedSplit(Split):
    """The rows of all sources, one source after another. sources: each one's own split. weights: as in Mixture."""

    sources: Mapping[str, Split] = field(default_factory=dict)
    weights: Mapping[str, float] | None = None

    def place(self, row: int) -> str:
        """The source and the number, from 1, that one of the pairs has in it."""
        for name, part in self.sources.items():
            if row < len(part.pairs):
                return f"{name} {part.source_row(row)}"
            row -= len(part.pairs)
        raise IndexError(row)

    @property
    def sizes(self) -> dict[str, int]:
        """Rows that are trained on, by source."""
        return {name: len(part.pairs) for name, part in self.sources.items()}


def _stacked(tables: Mapping[str, Dataset], of: Sequence[str] | Mapping[str, object] = ()) -> Dataset:
    """The rows of one table after another. of: the names of those that must be there. Raises DataError."""
    from datasets import concatenate_datasets

    (first, table), *_ = tables.items()
    for name in of or tables:
        columns = tables[name].column_names if name in tables else []
        if sorted(columns) != sorted(table.column_names):
            raise DataError(
                f"sources: {first} has the columns {', '.join(table.column_names)}, and {name} has "
                f"{', '.join(columns) or 'none of them'}; give both the same, as in sources.{name}.negatives=[], or "
                "find hard negatives for the other by task=mine"
            )
    kinds = table.features.copy()
    for column, kind in kinds.items():
        if kind.dtype.startswith(("int", "uint", "bool", "float")):
            kinds[column] = type(kind)("float64")
        elif kind.dtype == "large_string":
            kinds[column] = type(kind)("string")
    return concatenate_datasets([part.select_columns(list(kinds)).cast(kinds) for part in tables.values()])
