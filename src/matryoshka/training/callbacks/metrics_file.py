"""Every logged value as one line of JSON, whatever other logger there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from matryoshka.storage.atomic import saying_if_full, write_atomically


class MetricsFile(Logger):
    """Appends each row to metrics.jsonl as it comes, with its step (updates) and epoch; `rows` keeps them too."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def version(self) -> str:
        """There is one a run."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write one row."""
        row = {"step": step or 0, **metrics}
        self.rows.append(row)
        with saying_if_full(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": list(self.rows)}

    @rank_zero_only
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind these rows: those that the file has beyond them will be written again."""
        self.rows = [dict(row) for row in state["rows"]]
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration has a file of its own."""
