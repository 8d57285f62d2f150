"""What datasets caches while it reads goes to a folder of the test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "datasets_cache"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
    return folder
