"""Look at the data, and change nothing: what every training begins with, on its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from matryoshka.report import files
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.doctor import show_diagnosis, write_diagnosis
from matryoshka.tasks.loading import load
from matryoshka.tasks.setup import quiet_libraries


def doctor(config: Mapping[str, Any], folder: Path) -> float:
    """Examine the configured data, print everything, write it into the folder; returns the number of warnings."""
    quiet_libraries()
    config = {"pooling": None, **config}
    diagnosis = load(config).examine(instantiate(config["doctor"], _convert_="all"))
    files.write_config(folder, config)
    show_diagnosis(diagnosis, brief=False)
    lines.show_paths({**write_diagnosis(folder, diagnosis), "configuration": folder / "config.yaml"})
    return float(len(diagnosis.warnings))
