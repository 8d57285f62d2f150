"""A signal ends a process whose main thread cannot handle it, and none that goes on, saves or ends a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

# A process that may be stuck for 0.8 seconds, which says when it is ready. The handler only notes the signal, as a
# training's does; a mutex that is locked twice waits for ever, without a step of Python's.
BEGIN = """
import ctypes, os, signal, time
from datetime import timedelta
from matryoshka.processes.ending import ended_where_stuck, goes_on, may_take_long

def stuck():
    mutex, system = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    system.pthread_mutex_lock(mutex)
    system.pthread_mutex_lock(mutex)

def saves():
    with may_take_long():
        time.sleep(2)

def saves_and_is_stuck():
    saves()
    stuck()

def works():
    for _ in range(20):
        time.sleep(0.1)
        goes_on()

def has_a_worker_ended():
    reading, writing = os.pipe()
    if not (worker := os.fork()):
        os.write(writing, b"begun")
        while True:
            time.sleep(60)
    os.read(reading, 5)
    os.kill(worker, signal.SIGTERM)
    time.sleep(2)
    os.kill(worker, signal.SIGKILL)

def has_left():
    time.sleep(0.3)  # so that the signal comes before
    context.__exit__(None, None, None)
    time.sleep(2)

signal.signal(signal.SIGTERM, lambda *_: None)
context = ended_where_stuck(timedelta(seconds=0.8))
context.__enter__()
print("ready", flush=True)
{kind}()
print("saved")
"""


@pytest.mark.parametrize(
    ("kind", "code", "saved"),
    [
        ("stuck", 128 + signal.SIGTERM, False),
        ("saves_and_is_stuck", 128 + signal.SIGTERM, False),
        ("saves", 0, True),
        ("works", 0, True),
        ("has_left", 0, True),
    ],
)
def test_a_signal_ends_what_is_stuck_and_nothing_else(kind: str, code: int, saved: bool) -> None:
    process = begun(kind)
    process.send_signal(signal.SIGTERM)
    said, error = ended(process)
    assert (process.returncode, "saved" in said) == (code, saved), error
    assert ("SIGTERM: this process is stuck, and ends without saving" in error) is not saved


def test_a_signal_to_a_worker_is_not_one_to_the_process() -> None:
    process = begun("has_a_worker_ended")
    said, error = ended(process)
    assert (process.returncode, said.strip()) == (0, "saved"), error


def begun(kind: str) -> subprocess.Popen[str]:
    """The process, at work."""
    script = BEGIN.format(kind=kind)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", script], text=True, start_new_session=True, **pipes)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it said, in both pipes; raises TimeoutExpired."""
    try:
        return process.communicate(timeout=30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its worker too
