"""Whole runs; tests/report draws the figures at their end."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _drawn(undrawn: None) -> None:
    """Blank figures, where a file says nothing else."""
