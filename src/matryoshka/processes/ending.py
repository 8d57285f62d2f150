"""The end of a process that a signal has reached while it waits for another one in a GPU's queue.

Python handles a signal between two of its own steps. A process that waits for a GPU whose partner has died makes none:
its handler never runs, and what started it waits until it kills it, as long as saving may take.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from matryoshka.processes.signals import ENDING

LOOKS = 0.5  # seconds between two of them


class _Signs:
    """When this process has last shown that it goes on, by the monotonic clock; infinite while it may take long."""

    last = -math.inf


def goes_on() -> None:
    """Say that this process is not stuck."""
    _Signs.last = time.monotonic()


@contextmanager
def may_take_long() -> Iterator[None]:
    """Inside, this process works alone, as it does to save, or waits for one that does: it is not stuck."""
    _Signs.last = math.inf
    try:
        yield
    finally:
        goes_on()


@contextmanager
def ended_where_stuck(after: timedelta) -> Iterator[None]:
    """Inside, a signal that ends a process does so even where its main thread cannot handle it: so long after the
    signal and after the last sign that the process goes on."""
    if threading.current_thread() is not threading.main_thread():  # only there may be asked what has come
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # The system's own handler writes the signal's number at once, whatever the main thread is at.
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=partial(signal.set_wakeup_fd, -1))  # a worker's signals are not this process's
    threading.Thread(target=_watch, args=(reading, after.total_seconds()), daemon=True).start()
    goes_on()
    try:
        yield
        _Signs.last = math.inf  # for a signal that has come just before; after an error the end may be stuck as well
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def _watch(reading: int, seconds: float) -> None:
    number = 0
    while number not in ENDING:
        if not (read := os.read(reading, 1)):  # closed: nobody asks any more
            os.close(reading)
            return
        number = read[0]
    asked = time.monotonic()
    while (left := max(asked, _Signs.last) + seconds - time.monotonic()) > 0:
        time.sleep(min(left, LOOKS))
    os.write(2, f"{signal.Signals(number).name}: this process is stuck, and ends without saving\n".encode())
    os._exit(128 + number)
