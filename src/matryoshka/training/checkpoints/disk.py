"""How much of a disk a run takes, known before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from matryoshka.errors import UserError
from matryoshka.training.checkpoints.kept import FOLDER, LASTS


def bytes_on_disk(weights: float, optimizer: float, model: float, *, start: bool = False) -> tuple[int, int]:
    """Bytes at the most, and bytes that stay.

    weights: that are trained; optimizer: what it keeps of them; model: what is exported, if anything. At the most there
    are the checkpoints that are kept, the best weights of each, and beside them another checkpoint or the model. start:
    whether the weights before training are kept too.
    """
    kept = LASTS * (2 * weights + optimizer) + start * weights
    return round(kept + max(weights + optimizer, model)), round(model)


def require_room(folder: Path, most: int, stays: int) -> str:
    """Say what a run in this folder takes of the disk and what there is. Raises UserError where that is too little."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    before = sum(path.stat().st_size for path in folder.glob(f"{FOLDER}/*/*"))  # of a run that goes on
    free = shutil.disk_usage(there).free
    said = f"{most / 1e6:,.1f} MB at the most while it runs, {stays / 1e6:,.1f} MB afterwards"
    if free + before < most:
        remedy = "make room there, or choose another disk by hydra.run.dir=..."
        raise UserError(f"{folder}: the run takes {said}, and {free / 1e6:,.1f} MB are free; {remedy}")
    return f"{said}, of {free / 1e6:,.1f} MB free"
