"""Embeddings of more texts than fit in memory: a .npy file, written part by part and read through a mapping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matryoshka.encoder.encoder import Encoder, Precision, Prompt


def encode_to_file(
    encoder: Encoder,
    texts: Sequence[str],
    path: str | Path,
    *,
    prompt: Prompt | None = "document",
    precision: Precision = "fp32",
    dtype: type[np.floating[Any]] = np.float32,
    rows: int = 16384,
) -> np.ndarray[Any, np.dtype[Any]]:
    """Write the embeddings of the texts, not normalised, (N, width), `rows` at a time; returns the file, mapped.

    dtype: np.float16 halves the file. Equal texts are sure of equal embeddings within `rows` only: the last bits depend
    on what is computed beside a text. The file appears under its name when it is whole; later,
    `np.load(path, mmap_mode="r")` opens it.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}-unfinished")
    try:
        file_ND = np.lib.format.open_memmap(beside, mode="w+", dtype=dtype, shape=(len(texts), encoder.width))
        for start in range(0, len(texts), rows):
            part = texts[start : start + rows]
            file_ND[start : start + rows] = encoder.encode(part, prompt=prompt, precision=precision, normalize=False)
        file_ND.flush()
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    mapped_ND: np.ndarray[Any, np.dtype[Any]] = np.load(path, mmap_mode="r")
    return mapped_ND
