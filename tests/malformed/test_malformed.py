"""Every malformed input is met with one message that says where it is wrong, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.malformed.case import Case, names
from tests.malformed.meeting import met, save_tiny_model
from tests.malformed.tables import CASES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MATRYOSHKA_BMF", "nowhere")


def test_every_case_has_a_name_of_its_own() -> None:
    assert len(set(names(CASES))) == len(CASES)


@pytest.mark.parametrize("case", CASES[::3], ids=names(CASES[::3]))
def test_malformed(case: Case, tmp_path: Path, model: Path) -> None:
    """A third of the cases; the others take longer than a unit test may."""
    assert met(case, _new(tmp_path), model) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES[1::3], *CASES[2::3]], ids=names([*CASES[1::3], *CASES[2::3]]))
def test_malformed_too(case: Case, tmp_path: Path, model: Path) -> None:
    assert met(case, _new(tmp_path), model) == []


def _new(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder
