"""A file is there whole, readable to all, or as it was before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from matryoshka.atomic import write_atomically


def test_content_is_written_and_the_path_returned(tmp_path: Path) -> None:
    path = write_atomically(tmp_path / "x.txt", "Größe\r\n")

    assert path == tmp_path / "x.txt"
    assert path.read_bytes() == "Größe\r\n".encode()
    assert write_atomically(tmp_path / "x.bin", b"\x00\xff").read_bytes() == b"\x00\xff"


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    assert write_atomically(tmp_path / "a" / "b" / "x.txt", "hello").read_text() == "hello"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = write_atomically(tmp_path / "x.txt", "a long first version")
    with path.open() as reader:
        write_atomically(path, "short")
        assert reader.read() == "a long first version"  # whoever has it open keeps what there was

    assert path.read_text() == "short"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_colleagues_may_read_it(tmp_path: Path) -> None:
    assert stat.S_IMODE(write_atomically(tmp_path / "x.txt", "hello").stat().st_mode) == 0o644


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_there_was_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: type[BaseException]
) -> None:
    path = write_atomically(tmp_path / "x.txt", "before")

    def fail(*_: object) -> None:
        raise error("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(broken, fail)
        with pytest.raises(error, match="disk full"):
            write_atomically(path, "after")

    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_content_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        assert order or os.fstat(handle).st_size == 5  # nothing is left in a buffer
        order.append("sync")
        sync(handle)

    def replaced(path: Path, target: Path) -> Path:
        assert path.parent == tmp_path  # one file system, or it is no single step
        order.append("replace")
        return replace(path, target)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr("pathlib.Path.replace", replaced)
    write_atomically(tmp_path / "x.txt", "hello")

    assert order == ["sync", "replace", "sync"]  # the last one is the folder's, so that the name stays as well
