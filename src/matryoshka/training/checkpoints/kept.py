"""A run's checkpoints: the two last ones, and the weights of the best update."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from matryoshka.errors import UserError
from matryoshka.storage.atomic import UNFINISHED, remove_unfinished
from matryoshka.training.checkpoints.folder import WEIGHTS, BrokenCheckpointError, Checkpoint, write_checkpoint

log = logging.getLogger(__name__)

MeasuredWeights = Callable[[], AbstractContextManager[None]]
FOLDER = "checkpoints"
LASTS = 2  # the newest, and the one before in case that the newest is broken


@dataclass(frozen=True)
class Best:
    """The update whose weights were kept, and the selecting metric's value that made them the best."""

    step: int
    value: float


class KeptCheckpoints:
    """The checkpoints of the run in a folder. run: the hash of its configuration."""

    def __init__(self, folder: Path, run: str = "") -> None:
        self.folder = folder / FOLDER
        self.run = run

    def lasts(self) -> list[Path]:
        """Checkpoints to go on from, newest first."""
        return sorted(self.folder.glob("last-*"), key=_update, reverse=True)

    def newest(self) -> tuple[Checkpoint, dict[str, Any]] | None:
        """The newest intact one and its training state; None where there never was one.

        Says which are broken and why. Raises UserError where all of them are.
        """
        problems = []
        for folder in self.lasts():
            try:
                checkpoint = Checkpoint.read(folder)
                checkpoint.check()
                state = checkpoint.training()
                if best := state["best"]:
                    self.best(best["step"])
            except BrokenCheckpointError as error:
                problems.append(str(error))
                log.warning("checkpoint %s is broken: %s", folder.name, error)
                continue
            if problems:
                log.warning("going on from the one before, %s", folder.name)
            return checkpoint, state
        if problems:
            remedy = f"remove {self.folder} to begin anew"
            raise UserError("\n".join([f"{self.folder}: no checkpoint can be gone on from; {remedy}", *problems]))
        return None

    def best(self, update: int) -> Checkpoint:
        """The best weights. Raises BrokenCheckpointError."""
        checkpoint = Checkpoint.read(self._best_folder(update))
        checkpoint.check()
        return checkpoint

    def save(
        self, update: int, model: nn.Module, training: Mapping[str, Any], measured: MeasuredWeights | None = None
    ) -> None:
        """Save the state after an update, and the weights as the best where it says so; remove what is obsolete.

        measured: inside it the model has the weights that were measured, where these are others.
        The checkpoints before are removed when the new one is on disk. Raises DiskFullError.
        """
        best = training["best"]
        weights: nn.Module | Path = model
        if best and best["step"] == update:
            folder = self._best_folder(update)
            if not folder.exists():
                with measured() if measured else nullcontext():
                    write_checkpoint(folder, update, self.run, model)
            weights = model if measured else folder / WEIGHTS
        write_checkpoint(self.folder / f"last-{update}", update, self.run, weights, training)
        self.tidy()

    def tidy(self) -> None:
        """Remove all but the newest ones and the best weights that they speak of, and what was never finished."""
        remove_unfinished(self.folder)
        for folder in self.lasts()[LASTS:]:
            shutil.rmtree(folder)
        oldest = min(map(_update, self.lasts()), default=0)
        bests = sorted(self.folder.glob("best-*"), key=_update, reverse=True)
        # Of those before the oldest state that is kept only the last one can be its best.
        for folder in [folder for folder in bests if _update(folder) <= oldest][1:]:
            shutil.rmtree(folder)

    def remove(self) -> None:
        """Remove all of them, which takes effect at once: the run is finished."""
        gone = self.folder.with_name(f".{FOLDER}{UNFINISHED}finished")
        if self.folder.exists():
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def forget_after(self, update: int) -> None:
        """Remove what a run that goes on after this update will write again."""
        for folder in [*self.lasts(), *self.folder.glob("best-*")]:
            if _update(folder) > update:
                shutil.rmtree(folder)

    def _best_folder(self, update: int) -> Path:
        return self.folder / f"best-{update}"


def _update(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
