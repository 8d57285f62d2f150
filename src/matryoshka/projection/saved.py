"""The matrix of a run, as a file: `projection.safetensors`, read and written without torch."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from matryoshka.encoder.tensor_file import require_tensors
from matryoshka.errors import UserError
from matryoshka.projection.codes import Code, Encoding, Floats, unit
from matryoshka.projection.page import page
from matryoshka.projection.projection import Side
from matryoshka.storage.atomic import write_atomically

FILE = "projection.safetensors"
FORMAT = "1"
LARGEST_CALIBRATION = 256  # rows
TENSORS = {"matrix", "calibration"}


@dataclass(frozen=True, eq=False)
class SavedProjection:
    """What to do to vectors of D numbers, x @ matrix, so that their first d numbers, normalised, stand for them.

    calibration_ME: at most 256 training passages after it, not normalised, from which int8 takes its ranges.
    kind: how it was found, such as "learned"; side: whether passages go through it too; encoder and fingerprint: whose
    vectors it is for, "" where nobody said; dims: what it was fitted for; pairs: how many it was fitted on.
    """

    matrix_DE: Floats
    calibration_ME: Floats
    kind: str = "learned"
    side: Side = "both"
    encoder: str = ""
    fingerprint: str = ""
    dims: tuple[int, ...] = ()
    pairs: int = 0

    @property
    def width(self) -> int:
        """Numbers of a vector that goes in."""
        return len(self.matrix_DE)

    @property
    def full(self) -> int:
        """Numbers of a vector that comes out and is not cut."""
        return int(self.matrix_DE.shape[1])

    def encoding(self, code: Code, dim: int) -> Encoding:
        """How vectors cut to `dim` are stored: of int8, with the ranges of the calibration, cut and normalised."""
        if code != "int8":
            return Encoding(code, dim)
        cut_Md = unit(self.calibration_ME[:, :dim].copy())
        return Encoding(code, dim, np.stack([cut_Md.min(0), cut_Md.max(0)]))

    @classmethod
    def read(cls, path: Path | str) -> SavedProjection:
        """Of a file or a run's folder. Raises UserError for a file that is missing, damaged or of another kind."""
        path = Path(path)
        if path.is_dir():
            path = path / FILE
        if not path.is_file():
            raise UserError(f"{path} does not exist; name the folder of a run of task=project, or its {FILE}")
        if missing := TENSORS - require_tensors(path).keys():
            raise UserError(f"{path} is no {FILE}: it has no tensor {' and no tensor '.join(sorted(missing))}")
        try:
            with safe_open(path, framework="numpy") as file:
                said = file.metadata() or {}
                matrix_DE, calibration_ME = (file.get_tensor(name) for name in ("matrix", "calibration"))
            found = cls(matrix_DE, calibration_ME, **_words(said))
        except (SafetensorError, TypeError, ValueError, KeyError, OSError) as error:
            raise UserError(f"{path} is no {FILE} that can be read: {error}") from error
        if problem := next(found._problems(), None):
            raise UserError(f"{path}: {problem}; fit the matrix again (task=project)")
        return found

    def write(self, folder: Path) -> Path:
        """projection.safetensors, the matrix as projection.npy, and how to apply it as projection.md; the first's path.

        Raises ValueError for what `read` would refuse.
        """
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        words = {"kind": self.kind, "side": self.side, "encoder": self.encoder, "fingerprint": self.fingerprint}
        words |= {"format": FORMAT, "dims": json.dumps(list(self.dims)), "pairs": str(self.pairs)}
        tensors = {"matrix": self.matrix_DE, "calibration": self.calibration_ME}
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        write_atomically(folder / "projection.npy", _npy(tensors["matrix"]))
        write_atomically(
            folder / "projection.md", page(self.width, self.full, self.dims, self.side == "query", self.encoder)
        )
        return write_atomically(folder / FILE, save(tensors, metadata=words))

    def _problems(self) -> Iterator[str]:
        shapes = f"matrix of shape {self.matrix_DE.shape}, calibration of shape {self.calibration_ME.shape}"
        tensors = (self.matrix_DE, self.calibration_ME)
        if not all(x.ndim == 2 and x.dtype == np.float32 and x.size for x in tensors):
            kinds = " and ".join(str(x.dtype) for x in tensors)
            yield f"two matrices of float32 are expected, not a {shapes} ({kinds})"
            return
        if self.calibration_ME.shape[1] != self.full or len(self.calibration_ME) > LARGEST_CALIBRATION:
            yield f"{shapes} do not fit; (D, E) and (at most {LARGEST_CALIBRATION}, E) are expected"
        if self.side not in get_args(Side):
            yield f"side is {self.side!r}, not one of both and query"
        if self.side == "query" and self.width != self.full:
            yield f"documents stay as they are, so the matrix has to be square, not {self.width} x {self.full}"
        if not all(np.isfinite(x).all() for x in tensors):
            yield "not all of its numbers are finite"
        elif not self.calibration_ME.any(1).all():
            yield "a row of its calibration is zeros"
        if not all(0 < dim <= self.full for dim in self.dims):
            yield f"dims {list(self.dims)} are not within 1 and {self.full}"


def _words(said: dict[str, str]) -> dict[str, Any]:
    """The metadata as fields. Raises ValueError or KeyError for others."""
    if said.get("format") != FORMAT:
        raise ValueError(f"its format is {said.get('format', 'not said')}, and this version reads format {FORMAT}")
    dims = json.loads(said["dims"])
    if not isinstance(dims, list) or not all(type(dim) is int for dim in dims):
        raise ValueError(f"dims are {said['dims']}, not a list of widths")
    words = {name: said[name] for name in ("kind", "encoder", "fingerprint")}
    return {**words, "side": cast(Side, said["side"]), "dims": tuple(dims), "pairs": int(said["pairs"])}


def _npy(x_ND: Floats) -> bytes:
    file = io.BytesIO()
    np.save(file, x_ND)
    return file.getvalue()
