"""Folders that grow with use are bounded: what was used longest ago goes first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matryoshka.cache import mark_used, remove_oldest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for age, name in enumerate("abcd"):
        path = tmp_path / name
        path.write_bytes(bytes(10))
        os.utime(path, (100 - age, 100 - age))  # a is the newest
    return tmp_path


@pytest.mark.parametrize(("limit", "left"), [(40, "abcd"), (39, "abc"), (30, "abc"), (15, "a"), (9, ""), (0, "")])
def test_the_oldest_go_until_the_rest_fits(folder: Path, limit: int, left: str) -> None:
    remove_oldest(folder, limit)

    assert sorted(path.name for path in folder.iterdir()) == list(left)


def test_what_was_used_is_not_among_the_oldest(folder: Path) -> None:
    mark_used(folder / "d")
    remove_oldest(folder, 20)

    assert sorted(path.name for path in folder.iterdir()) == ["a", "d"]


def test_a_folder_that_is_not_there_needs_nothing(tmp_path: Path) -> None:
    mark_used(tmp_path / "missing" / "file")
    remove_oldest(tmp_path / "missing")
