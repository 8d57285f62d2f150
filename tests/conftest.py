"""A quiet, offline surrounding for every test: no account, no network, one place for the embedded encoder."""

from __future__ import annotations

import os

import pytest

# Before anything imports them: libraries read these once.
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: with a process a core, the others then run beside them and none waits for them."""
    items.sort(key=lambda item: (item.path.name != "test_end_to_end.py", item.path.parent.name != "tasks"))
