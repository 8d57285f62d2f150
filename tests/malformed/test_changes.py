"""A few files changed at random; `python -m scripts.torture.fuzz` reads thousands, in processes that may crash."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.malformed.changes import changed, read, valid_files

KINDS = [kind for kind in valid_files() if kind.startswith(("pairs", "rows", "run"))]


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    draw = random.Random(7)
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert read(kind, changed(valid_files()[kind], draw), folder) in ("read", "refused")


@pytest.mark.parametrize("kind", list(valid_files()))
def test_an_unchanged_file_is_read(kind: str, tmp_path: Path) -> None:
    assert read(kind, valid_files()[kind], tmp_path) == "read"
