"""Embeddings of a corpus that is larger than memory: rows of a file, of which only a piece is mapped at a time."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matryoshka.errors import UserError
from matryoshka.storage.cache import cache_folder

BYTES = 4  # of a number in fp32


def mapped_zeros(rows: int, width: int) -> Tensor:
    """(rows, width) in fp32 in a file without a name below the cache folder: it is gone with the tensor."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache_folder()) as file:
        file.truncate(BYTES * rows * width)
        return torch.from_file(file.name, shared=True, size=rows * width, dtype=torch.float32).view(rows, width)


class MappedRows:
    """A matrix (N, D) in fp32 of zeros, in a file without a name: it is gone with the rows, however their process ends.

    Rows are set by their numbers and read by slices; a slice is a mapping of its rows alone, so that nothing else of
    the file is in memory. folder: where the file lies; the cache folder by default, for /tmp may be memory itself.
    Raises UserError if the disk has less room than it needs.
    """

    def __init__(self, rows: int, width: int, folder: Path | None = None) -> None:
        self.shape = (rows, width)
        folder = folder or cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if self.bytes > free:
            raise UserError(
                f"evaluator.on_disk: the embeddings of {rows:,} documents take {self.bytes / 1e9:.1f} GB, and {folder} "
                f"has {free / 1e9:.1f} GB free; make room, or name another folder by MATRYOSHKA_CACHE"
            )
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the rows
        self._close = weakref.finalize(self, self._file.close)
        self._file.truncate(self.bytes)

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return BYTES * self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __setitem__(self, rows: Sequence[int], values_SD: Tensor) -> None:
        size = BYTES * self.shape[1]
        for row, value_D in zip(rows, values_SD.float().numpy(), strict=True):
            self._file.seek(row * size)
            self._file.write(value_D.tobytes())

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray[Any, np.dtype[Any]]:
        rows, columns = place
        start, stop, _ = rows.indices(len(self))
        self._file.flush()
        shape, offset = (stop - start, self.shape[1]), BYTES * start * self.shape[1]
        mapped_ND = np.memmap(self._file, np.float32, "r", offset, shape)
        piece_Nd: np.ndarray[Any, np.dtype[Any]] = mapped_ND[:, columns]
        return piece_Nd

    def close(self) -> None:
        """Give the disk its room back."""
        self._close()
