"""What became of jobs: one file in the folder of each tells the next command what is left, and others how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from matryoshka.durations import in_words
from matryoshka.storage.atomic import write_json
from matryoshka.storage.credentials import masked_values

State = Literal["running", "done", "failed", "pruned"]
NAME = "status.json"
PLAN = "plan.json"


@dataclass(frozen=True)
class Status:
    """One job.

    config_hash: of its whole configuration (see jobs.config_hash). settings: its overrides, key -> value, as in
    `optimizer.lr` -> 2e-05 or `scheduler` -> cosine. objective: what the task returned. seconds: how long it took.
    error: why it failed, in a line. traceback: the whole of it, where it was no mistake of the user's. `running` is
    also what a job leaves that was killed.
    """

    state: State
    config_hash: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    objective: float | None = None
    seconds: float | None = None
    error: str = ""
    traceback: str = ""

    def write(self, folder: Path) -> Path:
        """Leave it in the job's folder, without secrets."""
        return write_json(folder / NAME, masked_values(asdict(self)))


def read_status(folder: Path) -> Status | None:
    """What stands in a job's folder; None where nothing does that can be read."""
    try:
        plain = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return Status(**{item.name: plain[item.name] for item in fields(Status) if item.name in plain})
    except (OSError, ValueError, TypeError):
        return None


def write_plan(folder: Path, names: Sequence[str], started: float | None = None) -> Path:
    """Leave the names of the jobs that this command runs, and when it began: now, unless that is given."""
    return write_json(folder / PLAN, {"started": started or time.time(), "jobs": list(names)})


def progress(folder: Path) -> str:
    """As in `3 of 8 jobs done, 1 failed; about 12 min left`; empty where there is no plan."""
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    states = [status.state for name in plan["jobs"] if (status := read_status(folder / name))]
    ended = sum(state != "running" for state in states)
    left = len(plan["jobs"]) - ended
    failed = f", {states.count('failed')} failed" if "failed" in states else ""
    time_left = f"; about {in_words((time.time() - plan['started']) / ended * left)} left" if ended and left else ""
    return f"{ended - states.count('failed')} of {len(plan['jobs'])} jobs done{failed}{time_left}"


def mean_seconds(statuses: Sequence[Status]) -> float | None:
    """What a job took on average; None where none is done."""
    seconds = [status.seconds for status in statuses if status.state == "done" and status.seconds is not None]
    return sum(seconds) / len(seconds) if seconds else None
