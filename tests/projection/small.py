"""A small matrix, and stored vectors to put through it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from matryoshka.projection.saved import SavedProjection, Side

WIDTH = 12
COMMAND = "from matryoshka.cli.console import main; main()"


def vectors(rows: int, width: int = WIDTH, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal((rows, width), np.float32)


def saved(side: Side = "both", **words: Any) -> SavedProjection:
    """A random matrix with its calibration."""
    given = {"dims": (4, 8, WIDTH), "pairs": 100, "encoder": "some/model", "fingerprint": "5e1f"} | words
    return SavedProjection(vectors(WIDTH, seed=1), vectors(50, seed=2), side=side, **given)


def by_hand(x_ND: Any, dim: int, matrix_DE: Any = None) -> Any:
    """The same in float64, without blocks."""
    y_Nd = (np.asarray(x_ND, np.float64) @ (saved().matrix_DE if matrix_DE is None else matrix_DE))[:, :dim]
    return y_Nd / np.linalg.norm(y_Nd, axis=1, keepdims=True)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`matryoshka project` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "project", *words], cwd=folder, capture_output=True, text=True, timeout=60
    )
