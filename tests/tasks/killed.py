"""A run that ends as if it were killed, right after it has written a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from matryoshka.training.checkpoints.kept import KeptCheckpoints


class Killed(BaseException):
    """What no code of the run can mend."""


@contextmanager
def killed_at_save(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """Inside, a run must end after its checkpoint of this number, from 1."""
    save, saved = KeptCheckpoints.save, list[int]()

    def save_and_die(self: KeptCheckpoints, update: int, *rest: Any) -> None:
        save(self, update, *rest)
        saved.append(update)
        if len(saved) == number:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(KeptCheckpoints, "save", save_and_die)
        yield
