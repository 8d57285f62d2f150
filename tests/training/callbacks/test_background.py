"""A training whose checkpoints a thread writes: stopped, failed or killed meanwhile, it goes on to the same end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from matryoshka.errors import DiskFullError, StoppedError
from matryoshka.training.checkpoints import kept
from matryoshka.training.checkpoints.hashed_file import HashedFile
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from matryoshka.training.module import EmbeddingModule
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, UPDATES
from tests.training.callbacks.test_checkpoint import KilledError, timeless, train

PROJECT = Path(__file__).resolve().parents[3]
THREADS = str(torch.get_num_threads())  # on which the last bits depend
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": THREADS, "PYTHONPATH": str(PROJECT / "src")}
pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNINGS_ADVICE]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddingModule, list[dict[str, float]]]:
    """An undisturbed training, whose checkpoints are written in place."""
    module, rows, _ = train(tmp_path_factory.mktemp("whole"))
    return module, timeless(rows)


def ends_as(whole: tuple[EmbeddingModule, list[dict[str, float]]], folder: Path) -> bool:
    """Whether the training in this folder goes on to the end of the other, to the bit."""
    module, rows, _ = train(folder, background=True)
    same = map(torch.equal, module.encoder.state_dict().values(), whole[0].encoder.state_dict().values())
    return all(same) and timeless(rows) == whole[1]


def names(folder: Path) -> list[str]:
    return [path.name for path in KeptCheckpoints(folder).lasts()]


def slowed(monkeypatch: pytest.MonkeyPatch, update: int, during: Callable[[], None]) -> list[str]:
    """Do something in the thread before the checkpoint of an update is written; returns which threads wrote."""
    write, threads = kept.write_checkpoint, list[str]()

    def slow(folder: Path, *arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        if folder.name == f"last-{update}":
            during()
        return write(folder, *arguments, **options)

    monkeypatch.setattr(kept, "write_checkpoint", slow)
    return threads


def test_it_ends_as_one_that_writes_in_place(
    tmp_path: Path, whole: tuple[EmbeddingModule, list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = slowed(monkeypatch, 2, lambda: time.sleep(0.5))
    assert ends_as(whole, tmp_path)
    assert names(tmp_path) == [f"last-{UPDATES}", f"last-{UPDATES - 1}"]  # all is there when the training is over
    assert all(name.startswith("checkpoint") for name in threads)


@pytest.mark.parametrize("stop_at", [3, 5])
def test_an_error_of_the_training_leaves_the_checkpoint_that_was_being_written(
    tmp_path: Path,
    whole: tuple[EmbeddingModule, list[dict[str, float]]],
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        slowed(patch, stop_at, lambda: time.sleep(0.5))
        train(tmp_path, stop_at=stop_at, background=True)
    assert names(tmp_path)[0] == f"last-{stop_at}"
    assert ends_as(whole, tmp_path)


def test_a_signal_is_followed_when_the_checkpoint_is_on_disk(
    tmp_path: Path, whole: tuple[EmbeddingModule, list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def saved(number: int, frame: Any) -> None:
        seen.append(names(tmp_path))
        raise StoppedError(number)

    before = signal.signal(signal.SIGTERM, saved)
    try:
        with monkeypatch.context() as patch, pytest.raises(StoppedError):
            slowed(patch, 4, lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.5))[1])
            train(tmp_path, background=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    (found,) = seen  # a training of a few ms an update may be one further when the signal arrives
    assert found == names(tmp_path) and found[0] in ("last-4", "last-5", "last-6")
    assert ends_as(whole, tmp_path)


def test_a_second_signal_ends_at_once(
    tmp_path: Path, whole: tuple[EmbeddingModule, list[dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)

    begun = time.monotonic()
    write = HashedFile.write

    def slow(self: HashedFile, data: Any) -> int:
        if "last-5" in self._file.name:  # more than a minute for all of it
            time.sleep(1)
        return write(self, data)

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        slowed(patch, 5, lambda: threading.Thread(target=stop_twice).start())
        patch.setattr(HashedFile, "write", slow)
        train(tmp_path, background=True)
    assert time.monotonic() - begun < 30
    assert names(tmp_path)[0] == "last-4" and len(list((tmp_path / "checkpoints").glob(".last-5*"))) == 0
    assert ends_as(whole, tmp_path)


def test_an_error_of_the_thread_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise DiskFullError("the disk is full")

    for update in (4, UPDATES):  # raised by the next save, and when the training is over
        folder = tmp_path / f"{update}"
        with monkeypatch.context() as patch, pytest.raises(DiskFullError, match="the disk is full"):
            slowed(patch, update, full)
            train(folder, background=True)
        assert names(folder)[0] == f"last-{update - 1}"


def train_until_killed(folder: Path) -> None:
    """Train in a process that kills itself when the thread has written a part of the sixth checkpoint."""
    write = HashedFile.write

    def die(self: HashedFile, data: Any) -> int:
        if ".last-6" in self._file.name and self._file.name.endswith("training.pt") and self.bytes > 20_000:
            self._file.flush()
            time.sleep(0.5)  # in which the training goes on
            os.kill(os.getpid(), signal.SIGKILL)
        return write(self, data)

    HashedFile.write = die  # type: ignore[method-assign]
    train(folder, background=True)


def test_killed_while_the_thread_writes_it_goes_on_from_the_one_before(
    tmp_path: Path, whole: tuple[EmbeddingModule, list[dict[str, float]]]
) -> None:
    script = f"from pathlib import Path; from {__name__} import train_until_killed as t; t(Path({str(tmp_path)!r}))"
    job = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True)
    assert job.returncode == -signal.SIGKILL, job.stderr
    (unfinished,) = (tmp_path / "checkpoints").glob(".last-6*/new/training.pt")
    assert unfinished.stat().st_size > 20_000
    assert names(tmp_path) == ["last-5", "last-4"]
    assert ends_as(whole, tmp_path)
    assert not list((tmp_path / "checkpoints").glob(".*"))
