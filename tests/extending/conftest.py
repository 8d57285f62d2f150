"""A user's folder for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model with dropout and a few real pairs; for quick runs an empty cache."""
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), tmp_path / "tiny")
    write_pairs(tmp_path, train=24, evaluation=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path
