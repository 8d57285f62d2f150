"""Signals end the work at once, or after the update; other handlers are left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from matryoshka.errors import StoppedError
from matryoshka.processes.signals import SignalsInTraining, stopped_by_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_work_and_its_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=number.name) as stop, stopped_by_signals():
        os.kill(os.getpid(), number)
    assert stop.value.number == number and signal.getsignal(number) == before


def test_handlers_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    with stopped_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM]


def test_in_training_a_signal_waits_and_a_second_one_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    signals = SignalsInTraining()
    signals.note_handlers()
    signals.wait()
    os.kill(os.getpid(), signal.SIGINT)
    assert signals.received == signal.SIGINT
    assert "SIGINT: saving after this update; a second one ends at once" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    signals.restore()
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_what_comes_twice_by_itself_counts_once_and_others_requeue() -> None:
    requeued: list[Any] = []
    signal.signal(signal.SIGUSR2, lambda number, frame: requeued.append(number))
    signals = SignalsInTraining(once=True)
    signals.note_handlers()
    signals.wait()
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert signals.received == signal.SIGUSR2 and not requeued
    signals.act(signal.SIGUSR2)
    assert requeued == [signal.SIGUSR2]  # what a handler leaves running goes on
    with pytest.raises(StoppedError):
        signals.act(signal.SIGTERM)  # whose handler was the system's
