"""How processes end that a signal or another one's failure ends, with real ones that torch's launcher has started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from matryoshka.cli.start_processes import start_processes
from matryoshka.errors import StoppedError
from matryoshka.processes.together import from_first, rank
from matryoshka.training import several_processes
from matryoshka.training.several_processes import joined

PROJECT = Path(__file__).resolve().parents[2]
MAY_BE_STUCK = {"fails": timedelta(hours=1)}  # after a signal; else a second
pytestmark = pytest.mark.slow


def stuck() -> None:
    """Wait for ever without a step of Python's, so that no handler runs: a mutex is locked twice."""
    mutex, system = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    system.pthread_mutex_lock(mutex)
    system.pthread_mutex_lock(mutex)


def saves(folder: Path) -> None:
    """The signal is only noted, as in training, and saving takes longer than a process may be stuck."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)

    def save() -> None:
        time.sleep(6)
        (folder / "saved").touch()

    from_first(save)
    raise StoppedError(signal.SIGTERM)


def task(kind: str, config: Any, folder: Path) -> float:
    """Joined as on GPUs, but over gloo."""
    real = dist.init_process_group

    def over_gloo(backend: str, **options: Any) -> None:
        real("gloo", **options)

    with (
        patch.object(torch.cuda, "is_available", return_value=True),
        patch.object(dist, "init_process_group", over_gloo),
        patch.object(several_processes, "STUCK", MAY_BE_STUCK.get(kind, timedelta(seconds=1))),
        joined(torch.device("cuda")),
    ):
        from_first(lambda: None)
        (folder / f"ready_{rank()}").touch()
        if kind == "fails" and rank() == 0:
            raise ValueError("this one is ill")
        saves(folder) if kind == "saves" else stuck()
    return 0.0


def started(kind: str, folder: Path) -> subprocess.Popen[str]:
    """A launcher of two processes, at work."""
    work = f"from tests.cli.test_start_processes import launch; launch({kind!r}, {str(folder)!r})"
    words = [sys.executable, "-c", f"if __name__ == '__main__':\n    {work}"]
    begun = subprocess.Popen(words, cwd=PROJECT, text=True, stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 120
    while len(list(folder.glob("ready_*"))) < 2 and time.monotonic() < until and begun.poll() is None:
        time.sleep(0.1)
    return begun


def launch(kind: str, folder: str) -> None:
    """In the launcher's process: exit code 7 after a signal."""
    try:
        start_processes(task, kind, 2, {}, Path(folder))
    except StoppedError:
        sys.exit(7)


def ended(launcher: subprocess.Popen[str], within: float) -> tuple[int, str]:
    """Its exit code and what it said; raises TimeoutExpired."""
    try:
        _, said = launcher.communicate(timeout=within)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)  # nothing is left of a test that fails
    return launcher.returncode, said


def test_a_signal_ends_processes_that_are_stuck_on_gpus(tmp_path: Path) -> None:
    launcher = started("stuck", tmp_path)
    launcher.send_signal(signal.SIGTERM)
    code, said = ended(launcher, 60)
    assert code == 7, said
    assert said.count("SIGTERM: this process is stuck, and ends without saving") >= 1


def test_a_process_that_saves_is_left_alone(tmp_path: Path) -> None:
    launcher = started("saves", tmp_path)
    launcher.send_signal(signal.SIGTERM)
    code, said = ended(launcher, 90)
    assert (code, (tmp_path / "saved").exists()) == (7, True), said
    assert "stuck" not in said


def test_a_process_that_fails_ends_one_that_is_stuck_within_a_minute(tmp_path: Path) -> None:
    """torch's launcher sends SIGTERM, and SIGKILL after half a minute."""
    launcher = started("fails", tmp_path)
    began = time.monotonic()
    code, said = ended(launcher, 100)
    assert code == 1 and "this one is ill" in said
    assert time.monotonic() - began < 60
