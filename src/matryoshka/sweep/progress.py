"""How far a sweep is: told by the files of its jobs, so that any process of any launcher can say it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from matryoshka.durations import in_words
from matryoshka.storage.atomic import write_json
from matryoshka.sweep.status import Status, read_status

PLAN = "plan.json"


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
