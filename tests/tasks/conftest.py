"""Whole runs; tests/report draws the figures at their end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matryoshka.encoder import Encoder
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.extending.additions import PROJECT
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder


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


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a tiny model that has dropout, and real pairs."""
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), tmp_path / "tiny")
    write_pairs(tmp_path, train=60, evaluation=30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (PROJECT / "src", PROJECT))))  # of other processes
    return tmp_path
