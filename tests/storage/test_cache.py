"""Folders that grow with use are bounded: what was used longest ago goes first."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from matryoshka.errors import DiskFullError
from matryoshka.storage.cache import keep, mark_used, remove_oldest


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


@pytest.mark.parametrize(("limit", "left"), [(0, "d"), (10, "d"), (25, "ad")])
def test_a_file_to_spare_stays_however_old_or_large(folder: Path, limit: int, left: str) -> None:
    remove_oldest(folder, limit, spare=folder / "d")

    assert sorted(path.name for path in folder.iterdir()) == list(left)


def test_what_another_process_is_writing_stays_until_it_is_an_hour_old(tmp_path: Path) -> None:
    for name, age in ((".young", 3500), (".old", 3700)):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_oldest(tmp_path, 0)

    assert [path.name for path in tmp_path.iterdir()] == [".young"]


def test_where_nothing_can_be_written_one_warning_is_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert keep(tmp_path / "folder" / "a", b"content")
    assert (tmp_path / "folder" / "a").read_bytes() == b"content"
    (tmp_path / "file").write_bytes(b"in the way of a folder")
    for name in "ab":
        assert not keep(tmp_path / "file" / "tokens" / name, b"content")

    (record,) = caplog.records
    assert f"nothing is kept in {tmp_path}/file/tokens" in record.getMessage()


def test_a_full_disk_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise DiskFullError(path, len(content), 0)

    monkeypatch.setattr("matryoshka.storage.cache.write_atomically", full)
    assert not keep(tmp_path / "a", b"content")
