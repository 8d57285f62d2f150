"""A quiet, offline surrounding for every test: no account, no network, one place for the embedded encoder."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

# Before anything imports them: libraries read these once.
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


# The longest files first: with a process a core, the others then run beside them and none waits for them.
LONGEST = ("test_end_to_end", "test_docs", "test_cli", "test_every_yaml", "test_together", "test_checkpoint")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files: first the longest ones, then those of whole runs."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path.stem, len(LONGEST)), item.path.parent.name != "tasks"))


@pytest.fixture(scope="session", autouse=True)
def _configuration_parsed_once() -> Iterator[None]:
    """Hydra parses every file of conf/ anew for each composition: half of the time of one."""
    load = OmegaConf.load

    @cache
    def parsed(path: str, written: int) -> Any:
        return load(path)

    def copied(file: Any) -> Any:
        path = Path(file if isinstance(file, str | Path) else file.name)
        return deepcopy(parsed(str(path), path.stat().st_mtime_ns))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(copied))
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and their files written, but blank: to draw them is most of a tiny run's time."""
    from matplotlib.figure import Figure
    from PIL import Image

    def blank(_: Figure, content: io.BytesIO | io.StringIO, format: str, **__: Any) -> None:
        if isinstance(content, io.StringIO):
            content.write('<svg viewBox="0 0 1 1"><defs></defs></svg>')
        elif format == "svg":
            content.write(b'<svg viewBox="0 0 1 1"></svg>')
        else:
            Image.new("L", (1, 1)).save(content, format)

    monkeypatch.setattr(Figure, "savefig", blank)
