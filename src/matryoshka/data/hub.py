"""Pairs of a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from matryoshka.data.layouts import NegativesPerRow, Wanted
from matryoshka.data.ranges import Count
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import Problem, dev_problems, set_of_pairs
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubPairs:
    """Pairs of a data set on the Hugging Face hub: its train, evaluation and dev split; `revision` pins a commit.

    Without one, all splits are of the commit that the first was read at. pairs_at_most: as of PairFiles.
    """

    name: str
    dataset: str
    subset: str | None = None
    revision: str | None = None
    train_split: str = "train"
    evaluation_split: str = "test"
    anchor: str = "anchor"
    positive: str = "positive"
    negatives: Sequence[str] | None = ()
    dev_split: str | None = None
    pairs_at_most: Count | None = None
    negatives_per_row: NegativesPerRow | None = None
    label: str | None = None
    threshold: float | None = None
    _told: dict[str, None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def problems(self) -> Iterator[Problem]:
        """One split in two places; more cannot be checked without the network: loading says what is missing."""
        return dev_problems("dev_split", self.dev_split, self.train_split, self.evaluation_split)

    def training_pairs(self) -> Dataset:
        """The rows of the train split, columns renamed; raises DataError if it cannot be had."""
        from matryoshka.data.training_rows import training_rows

        rows = self._split(self.train_split)
        return training_rows(rows, Wanted.of(self), self.dataset, self._tell, self.pairs_at_most)

    def retrieval_set(self) -> RetrievalSet:
        """The questions of the evaluation split and their passages."""
        return self._set(self.name, self.evaluation_split)

    def dev_set(self) -> RetrievalSet | None:
        """The questions of the dev split and their passages."""
        return self._set(f"{self.name} (dev)", self.dev_split) if self.dev_split is not None else None

    def _set(self, name: str, split: str) -> RetrievalSet:
        from matryoshka.data.held_out_rows import held_out_rows

        rows = held_out_rows(self._split(split), Wanted.of(self), f"{self.dataset}, {split}", self._tell)
        return set_of_pairs(name, rows[self.anchor], rows[self.positive])

    def read_as(self) -> Iterator[str]:
        """What was found in the rows, as far as they were read."""
        yield from self._told

    def _tell(self, line: str) -> None:
        self._told[line] = None

    @property
    def commit(self) -> str | None:
        """The commit that was read, as far as it is known; before anything was read, the revision."""
        return self._commits[0] if self._commits else self.revision

    @cached_property
    def _commits(self) -> list[str]:
        return []

    def _split(self, split: str) -> Dataset:
        rows, commit = hub_rows(self.dataset, self.subset, split, self.commit)
        if commit:
            self._commits.append(commit)
        return rows


def hub_rows(
    dataset: str, subset: str | None, split: str, revision: str | None, *, or_only: bool = False
) -> tuple[Dataset, str | None]:
    """The rows of a split, and the commit that they are of, as far as it is known.

    dataset: a name of the hub, or a folder laid out as there. or_only: the subset's only split may have another name.
    Raises DataError if they cannot be had.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    part = f"split {split!r}" if subset is None else f"{subset!r}, split {split!r}"
    try:
        rows = load_dataset(dataset, subset, split=None if or_only else split, revision=revision)
    except (OSError, ValueError, DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"data set {dataset!r}, {part}, cannot be loaded: {reason}") from error
    if or_only and split not in rows and len(rows) != 1:
        raise DataError(f"data set {dataset!r} has no {part}; there are {', '.join(rows)}")
    if or_only:
        rows = rows[split if split in rows else next(iter(rows))]
    found = _commit_of(rows)
    if found and revision and COMMIT.fullmatch(revision) and found != revision:  # offline, datasets takes what it has
        raise DataError(
            f"data set {dataset!r}: the cache has commit {found}, not {revision}, and the hub is out of "
            f"reach; give it revision={found}, or run once with the hub within reach"
        )
    return rows, found


def _commit_of(rows: Dataset) -> str | None:
    """The commit in the address of the files in which datasets keeps rows of the hub."""
    folders = [Path(file["filename"]).parent.name for file in rows.cache_files]
    return next(filter(COMMIT.fullmatch, folders), None)
