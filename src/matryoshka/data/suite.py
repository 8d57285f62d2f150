"""Several sets measured as one suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.retrieval_set import RetrievalSet

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Suite:
    """No set of its own, but all of the recipe's `sets`, or those of these names, in this order."""

    name: str
    names: Sequence[str] | None = None

    def chosen(self, sets: Mapping[str, Kind]) -> dict[str, Kind]:
        """Those of the sets that are measured. Raises KeyError for a name that is none."""
        return dict(sets) if self.names is None else {name: sets[name] for name in self.names}

    def training_pairs(self) -> Dataset:
        """There are none: raises DataError."""
        self._refuse()

    def retrieval_set(self) -> RetrievalSet:
        """There is none: raises DataError."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataError("data: a suite has no pairs and no set of its own; it is what evaluate.py measures")
