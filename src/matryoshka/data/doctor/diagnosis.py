"""What the doctor found in a data set: plain numbers and examples, for every surface to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from matryoshka.data.doctor.held_out import HeldOut, HeldOutOverlap
from matryoshka.data.doctor.training_texts import Column, CopyCounts, TextPlaces

if TYPE_CHECKING:
    from matryoshka.data.samplers import BatchSummary


@dataclass(frozen=True)
class Diagnosis:
    """A data set, examined.

    repeated_rows: rows whose texts all stand in one earlier row. same_pairs: rows whose anchor is their positive,
    normalised. batches: those of an epoch; masked: whether the loss leaves out the copies that meet in one.
    warnings: what to mend, worst first, a sentence each; empty for a clean data set.
    """

    rows: int
    max_seq_length: int
    columns: Mapping[str, Column]
    repeated_rows: CopyCounts
    same_pairs: TextPlaces
    held_out: Mapping[str, HeldOut]
    between: tuple[HeldOutOverlap, ...]
    batches: BatchSummary | None = None
    masked: bool = False
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Diagnosis:
        """The diagnosis of which as_dict gave this, read back from JSON or not."""
        from pydantic import TypeAdapter

        from matryoshka.data.samplers import BatchSummary  # noqa: F401 - looked up here by its name, and imports torch

        return TypeAdapter(cls).validate_python(dict(plain))
