"""The header of a safetensors file, checked against the file: what a lying one says is found before it is read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from matryoshka.errors import UserError

LENGTH = 8  # bytes at the start that say how long the header is
LONGEST_HEADER = 100_000_000  # bytes, as in safetensors itself
POINTER = b"version https://git-lfs"  # what git writes where git-lfs is not installed
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


def require_tensors(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor. Raises UserError if the header cannot be read or does not fit the file."""
    try:
        header, data = _header(path)
        shapes, ends = {}, []
        for name, entry in header.items():
            if name != "__metadata__":
                shapes[name], place = _entry(name, entry)
                ends.append(place)
        _require_gapless(sorted(ends), data)
    except (OSError, ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{path} is damaged or no safetensors file: {what}; copy the complete file again") from error
    if not shapes:
        raise UserError(f"{path} has no tensors; copy the complete file again")
    return shapes


def require_no_pointer(path: Path) -> None:
    """Raises UserError if the file is what git writes where git-lfs is not installed."""
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise UserError(f"{path} is a git-lfs pointer, not the weights; run git lfs pull in the model's repository")


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and the bytes of data behind it."""
    size = path.stat().st_size
    require_no_pointer(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if size < LENGTH or not 0 < length <= min(size - LENGTH, LONGEST_HEADER):
            raise ValueError(f"it has {size:,} bytes, and its header would have {length:,}")
        header = json.loads(file.read(length).decode())
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, size - LENGTH - length


def _entry(name: str, entry: Any) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shape and place of a tensor."""
    entry = entry if isinstance(entry, dict) else {}
    kind, shape, place = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(kind, str) or kind not in BITS:
        raise ValueError(f"{name} is of kind {kind!r}")
    if not _counts(shape) or not _counts(place) or len(place) != 2:
        raise ValueError(f"{name} has shape {shape!r} at {place!r}")
    if (place[1] - place[0]) * 8 != math.prod(shape) * BITS[kind]:
        raise ValueError(f"{name} of shape {shape} is said to have {place[1] - place[0]:,} bytes")
    return tuple(shape), (place[0], place[1])


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _require_gapless(places: list[tuple[int, int]], data: int) -> None:
    end = 0
    for start, stop in places:
        if start != end:
            raise ValueError(f"its tensors overlap or leave a gap at byte {min(start, end):,}")
        end = stop
    if end != data:
        raise ValueError(f"its header tells of {end:,} bytes of tensors, and there are {data:,}")
