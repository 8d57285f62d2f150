"""A file is there whole, readable to all, or as it was before."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from matryoshka.errors import StoppedError
from matryoshka.storage.atomic import remove_unfinished, whole_folder, write_atomically


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


def test_what_was_never_finished_is_removed_and_nothing_of_a_users(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in (".env-template", ".venv-packages", "below/.cache-datasets", "x.unfinished-abc"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "below" / ".model.unfinished-a1b2c3d4").mkdir()
    (tmp_path / ".x.txt.unfinished-a1b2c3d4").write_text("half")

    remove_unfinished(tmp_path)

    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == [".env-template", ".venv-packages", "below", "below/.cache-datasets", "x.unfinished-abc"]


def test_a_killed_writing_is_among_what_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # as a killed process would have had no time for
    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("killed")))
        write_atomically(tmp_path / "x.txt", "half")
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1

    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_cut_off_between_its_two_renames_is_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "last-3"
    with whole_folder(folder) as new:
        (new / "x").write_text("old")
    rename = Path.rename

    def stopped(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise StoppedError(signal.SIGTERM)
        return rename(self, target)

    with monkeypatch.context() as patched, pytest.raises(StoppedError):
        patched.setattr(Path, "rename", stopped)
        with whole_folder(folder) as new:
            (new / "x").write_text("new")

    assert (folder / "x").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


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
