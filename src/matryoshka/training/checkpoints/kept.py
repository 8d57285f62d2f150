"""A run's checkpoints: the two last ones, and the weights of the best update."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from matryoshka.errors import UserError
from matryoshka.memory.limits import is_shortage
from matryoshka.processes.ending import may_take_long
from matryoshka.storage.atomic import UNFINISHED, remove_unfinished
from matryoshka.training.checkpoints.folder import BrokenCheckpointError, Checkpoint, write_checkpoint
from matryoshka.training.checkpoints.host_copy import HostCopy
from matryoshka.training.checkpoints.trained_part import trained_part
from matryoshka.training.checkpoints.writer import BackgroundWriter

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
    """The checkpoints of the run in a folder. run: the hash of its configuration.

    background: whether they are written by a thread, from a copy in the host's memory, while the training goes on.
    None: where the model is on a CUDA device. On a CPU the thread would take from the training what it saves.
    """

    def __init__(self, folder: Path, run: str = "", background: bool | None = None) -> None:
        self.folder = folder / FOLDER
        self.run = run
        self.background = background
        self._writer = BackgroundWriter()
        self._copies = {"measured": HostCopy(), "trained": HostCopy()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the place; what is being written stays with the one that writes it."""
        return type(self), (self.folder.parent, self.run, self.background)

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
        """The best weights. Raises BrokenCheckpointError, and the error of a checkpoint that was being written."""
        self.wait()
        checkpoint = Checkpoint.read(self._best_folder(update))
        checkpoint.check()
        return checkpoint

    def save(
        self, update: int, model: nn.Module, training: Mapping[str, Any], measured: MeasuredWeights | None = None
    ) -> None:
        """Save the state after an update, and the weights as the best where it says so; remove what is obsolete.

        measured: inside it the model has the weights that were measured, where these are others.
        The checkpoints before are removed when the new one is on disk. Raises DiskFullError, of the save before too.
        """
        self.wait()
        background = self.background if self.background is not None else _on_cuda(model)
        best = training["best"]
        is_best = bool(best) and best["step"] == update
        if is_best and measured:
            with measured():
                self._write("measured", background, trained_part(model), partial(self._best_of, update))
        write = partial(self._write_last, update, shared=is_best and not measured)
        self._write("trained", background, (trained_part(model), training), write)

    def wait(self) -> None:
        """Return when everything saved is on disk. Raises the error of what was being written, once."""
        self._writer.wait()

    def finish(self) -> None:
        """Wait, and give back the memory of the copies. Raises what wait raises."""
        with may_take_long():  # a signal's end must not cut off what it asked for
            self.wait()
        for copied in self._copies.values():
            copied.forget()

    def abandon(self) -> None:
        """Leave what is being written unfinished: the checkpoint before stays."""
        self._writer.abandon()

    def _write(self, copied: str, background: bool, state: Any, write: Callable[[Any], object]) -> None:
        """Write the state now, or from a copy while it changes."""
        if background:
            try:
                state = self._copies[copied].take(state)
            except (RuntimeError, MemoryError) as error:
                if not is_shortage(error):
                    raise
                log.warning("the training waits while checkpoints are written: no memory for a copy (%s)", error)
                self._writer.wait()
                self.background = background = False
        if background:
            self._writer.start(lambda: write(state))
        else:
            write(state)

    def _write_last(self, update: int, state: tuple[Mapping[str, Tensor], Mapping[str, Any]], shared: bool) -> None:
        """shared: its weights are those of the best checkpoint, whose file is shared."""
        weights, training = state
        source = self._best_of(update, weights) if shared else weights
        write_checkpoint(self.folder / f"last-{update}", update, self.run, source, training, self._writer.check)
        self.tidy()

    def _best_of(self, update: int, weights: Mapping[str, Tensor]) -> Checkpoint:
        """The best weights of this update, written unless they are there."""
        folder = self._best_folder(update)
        try:
            return Checkpoint.read(folder)
        except BrokenCheckpointError:
            return write_checkpoint(folder, update, self.run, weights, check=self._writer.check)

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


def _on_cuda(model: nn.Module) -> bool:
    return any(weight.device.type == "cuda" for weight in model.parameters())


def _update(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
