"""What became of a job: one file in its folder, which tells the next command what is left to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from matryoshka.storage.atomic import write_json
from matryoshka.storage.credentials import masked_values

State = Literal["running", "done", "failed", "pruned"]
NAME = "status.json"


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
