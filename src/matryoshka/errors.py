"""What a user can mend: such an error is shown as a message, without a traceback, and ends with exit code 2."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Collection
from pathlib import Path


def did_you_mean(name: str, known: Collection[str], before: str = "") -> str:
    """The known name that is most like another, before in front of it; all of them where none is like it."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {before}{near[0]}?" if near else f"there are {', '.join(known) or 'none'}"


class UserError(Exception):
    """Something the user can mend; the message names the file, line or key and the remedy."""


class ConfigError(UserError):
    """Every problem of a configuration, each as (key, what is wrong and what to write instead)."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"  {key}: {message}" if key else f"  {message}" for key, message in problems]
        super().__init__("\n".join([f"{count} in the configuration:", *lines]))


class DataError(UserError):
    """A data file that cannot be used as it is; names the file and the row or line."""


class JobsFailedError(Exception):
    """Jobs of a sweep that failed; the others are done."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        count = "1 job" if len(names) == 1 else f"{len(names)} jobs"
        super().__init__(f"{count} failed, each with its reason in its own log: {', '.join(names)}")


class NotPushedError(Exception):
    """A run that is done, but whose model could not be pushed to the hub; the message says how to do it later."""


class PrunedError(Exception):
    """A trial of a search that was given up early, behind the others. value: its selecting metric at that point."""

    def __init__(self, value: float, epoch: int) -> None:
        self.value = value
        super().__init__(f"given up after epoch {epoch} at {value:.4f}, behind the trials before")


class DiskFullError(Exception):
    """A file that found no room on its disk."""

    @classmethod
    def of(cls, path: Path, needed: int | None, free: int) -> DiskFullError:
        """needed: bytes of the file, where they are known; free: bytes there are."""
        wanted = "" if needed is None else f" {needed / 1e6:,.1f} MB were to be written and"
        return cls(f"{path}: the disk is full;{wanted} {free / 1e6:,.1f} MB are free")


class StoppedError(BaseException):
    """A signal that ended the work. As KeyboardInterrupt, it is no failure that anything should go on after."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")
