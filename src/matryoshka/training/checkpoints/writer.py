"""What is written while the training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait


class AbandonedError(Exception):
    """What was being written is not wanted any more."""


class BackgroundWriter:
    """Does pieces of work one after another in a thread; after one that failed, the next ones are not begun."""

    def __init__(self) -> None:
        self._last: Future[None] | None = None
        self._abandoned = threading.Event()

    def start(self, work: Callable[[], object]) -> None:
        """Do it after what was started before."""
        before = self._last

        def in_turn() -> None:
            if before:
                before.result()
            self.check()
            work()

        # A thread for this piece alone, which the interpreter waits for at its end: cut off, it could crash it.
        executor = ThreadPoolExecutor(1, "checkpoint")
        self._last = executor.submit(in_turn)
        executor.shutdown(wait=False)

    def wait(self) -> None:
        """Return when all of it is done. Raises its error, once; a signal interrupts this, not the work."""
        if self._last is None:
            return
        wait([self._last])
        done, self._last = self._last, None
        done.result()

    def abandon(self) -> None:
        """Have it end now, unfinished."""
        if self._last is not None:
            self._abandoned.set()
            wait([self._last])
            self._last = None
            self._abandoned.clear()

    def check(self) -> None:
        """Called in the work where it could end. Raises AbandonedError if it should."""
        if self._abandoned.is_set():
            raise AbandonedError
