"""Whole runs; tests/report draws the figures at their end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from matryoshka.encoder import Encoder


@pytest.fixture(autouse=True)
def _drawn(undrawn: None) -> None:
    """Blank figures, where a file says nothing else."""


@pytest.fixture
def encoded_texts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each batch had that was encoded, outside of a training."""
    counts: list[int] = []
    encode_batches = Encoder.encode_batches

    def counted(self: Encoder, *arguments: Any, **options: Any) -> Iterator[Any]:
        for found in encode_batches(self, *arguments, **options):
            counts.append(len(found[1]))
            yield found

    monkeypatch.setattr(Encoder, "encode_batches", counted)
    return counts
