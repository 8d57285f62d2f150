"""Signals that ask for the end: at once, or after the update in work."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from matryoshka.errors import StoppedError

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # what torch's launcher handles
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C, kill and clusters, SLURM's --signal=USR1
REQUEUEING = signal.SIGUSR2  # submitit's, which has a handler for it


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise StoppedError where a signal would end the process without a word; others' handlers stay as they are."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        plain = (signal.SIG_DFL, signal.default_int_handler)
        before = {number: handler for number in ASKING if (handler := signal.getsignal(number)) in plain}
    for number in before:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: Any) -> None:
    raise StoppedError(number)


class SignalsInTraining:
    """While `waiting`, a signal is only noted: the update in work is finished first. A second Ctrl-C ends at once.

    once: take a second one for the same, which the terminal and what started this process have both sent. What a signal
    does in the end is what its handler before did. at_once: whether a second one came.
    """

    def __init__(self, once: bool = False) -> None:
        self.once = once
        self.waiting = False
        self.received: int | None = None
        self.at_once = False
        self.before: dict[int, Any] = {}

    def note_handlers(self) -> None:
        """Know what signals do now, before Lightning sets handlers of its own."""
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in ASKING}
            if callable(handler := signal.getsignal(REQUEUEING)):
                handlers[REQUEUEING] = handler
            self.before = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}

    def wait(self) -> None:
        """From here on only note them."""
        self.waiting = True
        for number in self.before:
            signal.signal(number, self._receive)

    def restore(self) -> None:
        """Let them do what they did before."""
        self.waiting = False
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def act(self, number: int) -> None:
        """Do now what the signal asks for. Raises StoppedError, unless a handler before does something else."""
        self.received = None
        handler = self.before.get(number)
        if not callable(handler):
            raise StoppedError(number)
        handler(number, None)

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is not None and self.once:
            return
        if not self.waiting or self.received is not None:
            self.at_once = self.received is not None
            self.act(number)
            return
        self.received = number
        again = "" if self.once else "; a second one ends at once"
        os.write(2, f"{signal.Signals(number).name}: saving after this update{again}\n".encode())


@contextmanager
def signals_as_before() -> Iterator[None]:
    """A signal ends this process as one that runs alone: to torch's launcher it is an error, in later jobs as well."""
    from torch.distributed.elastic.multiprocessing import SignalException

    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    except SignalException as error:
        raise StoppedError(error.sigval) from None
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere the launcher leaves signals alone
            for number, handler in before.items():
                signal.signal(number, handler)


def stop_at_signals() -> None:
    """Raise StoppedError at the first of the signals that end this process."""
    for number in ENDING:
        signal.signal(number, stopping_once())


def stopping_once() -> Callable[[int, Any], None]:
    """Ctrl-C comes from the terminal and from torch's launcher: the second time it would break into the process's end.

    What Lightning sets and takes back in between is this handler again, so it remembers by itself.
    """
    seen: list[int] = []

    def stop(number: int, frame: Any) -> None:
        if not seen:
            seen.append(number)
            raise StoppedError(number)

    return stop
