"""Where a mining starts: anew, with what a stopped one has searched, or not at all since it is finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matryoshka.mining.kept_search import FOLDER
from matryoshka.report.terminal.lines import say
from matryoshka.report.terminal.mining import show_command
from matryoshka.storage.atomic import remove_unfinished
from matryoshka.tasks.hub_commits import pinned_as_before
from matryoshka.tasks.start_point import require_same, saved_config

Config = Mapping[str, Any]
MINED = "mining.json"  # the last file that a mining writes


@dataclass(frozen=True)
class MiningStart:
    """config: with the commits of the hub that it began with. before: that it began with, `auto` decided; None: anew.

    finished: how many negatives a finished one has.
    """

    config: Config
    before: Config | None = None
    finished: float | None = None

    @classmethod
    def of(cls, config: Config, folder: Path) -> MiningStart:
        """What the folder holds already. Raises UserError where it holds a run of another configuration."""
        remove_unfinished(folder)
        finished = (folder / MINED).is_file()
        if not finished and not (folder / FOLDER).is_dir():
            return cls(config)
        before = saved_config(folder)
        config = pinned_as_before(config, before)
        require_same(folder, before, config)
        if not finished:
            return cls(config, before)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)  # of one that was killed at its very end
        numbers = json.loads((folder / MINED).read_text(encoding="utf-8"))
        say("done", f"this run is finished: {numbers['negatives']:,} negatives in {folder / 'train.jsonl'}")
        show_command(numbers["command"])
        return cls(config, before, float(numbers["negatives"]))
