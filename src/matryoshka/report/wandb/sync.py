"""The one command that uploads what W&B kept offline."""

from __future__ import annotations

import shlex
from pathlib import Path

RUNS = "wandb/offline-run-*"  # below a run's folder


def sync_command(folder: Path) -> str:
    """What uploads the offline runs of a run's folder, or of a whole sweep's; empty if there are none.

    Given again it uploads only what is new: wandb marks what it has uploaded.
    """
    for pattern in (RUNS, f"*/{RUNS}"):
        if any(folder.glob(pattern)):
            return f"wandb sync {shlex.quote(str(folder))}/{pattern}"
    return ""
