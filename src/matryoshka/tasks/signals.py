"""Signals to a run of several processes: each ends by the first one, and the process that started them as if alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from matryoshka.errors import StoppedError

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # what torch's launcher handles


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
