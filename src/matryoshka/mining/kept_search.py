"""What a search has found, kept part by part in the run's folder, so that a stop costs one part at most."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from matryoshka.errors import UserError
from matryoshka.mining.scored import ScoredRows
from matryoshka.storage.atomic import write_atomically

FOLDER = "search"
AT_ONCE = 512  # rows of a part
TENSORS = ("candidates", "scores", "positive")


class KeptSearch:
    """The parts of a run's search. run: a hash of the configuration and the files that it reads."""

    def __init__(self, folder: Path, run: str, rows: int, at_once: int = AT_ONCE) -> None:
        self.folder = folder / FOLDER
        self.run = run
        self.parts = [range(start, min(start + at_once, rows)) for start in range(0, rows, at_once)]

    @property
    def done(self) -> int:
        """Rows whose part is there."""
        return sum(len(rows) for number, rows in enumerate(self.parts) if self._path(number).is_file())

    def searched(
        self, search: Callable[[Sequence[int]], ScoredRows], advance: Callable[[int], object]
    ) -> Iterator[ScoredRows]:
        """Every part in order: read where it is there, else searched and written. advance: told the rows of each."""
        for number, rows in enumerate(self.parts):
            part = self._read(number, rows)
            if part is None:
                part = search(rows)
                self._write(number, part)
            advance(len(rows))
            yield part

    def remove(self) -> None:
        """Forget all of it: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def _write(self, number: int, part: ScoredRows) -> None:
        arrays = dict(zip(TENSORS, (part.candidates_RD, part.scores_RD, part.positive_R), strict=True))
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"run": self.run})
        write_atomically(self._path(number), content)

    def _read(self, number: int, rows: Sequence[int]) -> ScoredRows | None:
        """A part; None where it is not there or damaged. Raises UserError for one of other data."""
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "numpy") as file:
                run = (file.metadata() or {}).get("run")
                part = ScoredRows(rows, *(file.get_tensor(name) for name in TENSORS))
        except (OSError, SafetensorError):
            return None
        if run != self.run:
            what = "the data's or the model's files, or the version of matryoshka, are others than when it was searched"
            raise UserError(f"{path}: {what}; bring them back, or begin in another folder: hydra.run.dir=...")
        return part
