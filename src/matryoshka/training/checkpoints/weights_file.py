"""Weights as a safetensors file, one tensor after another: nothing but the largest is in memory twice."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

# In the order of safetensors, by which a file begins with the widest.
DTYPES = (
    ("BOOL", "bool"),
    ("U8", "uint8"),
    ("I8", "int8"),
    ("F8_E5M2", "float8_e5m2"),
    ("F8_E4M3", "float8_e4m3fn"),
    ("I16", "int16"),
    ("U16", "uint16"),
    ("F16", "float16"),
    ("BF16", "bfloat16"),
    ("I32", "int32"),
    ("U32", "uint32"),
    ("F32", "float32"),
    ("C64", "complex64"),
    ("F64", "float64"),
    ("I64", "int64"),
    ("U64", "uint64"),
)
NAMES = {getattr(torch, name): (place, said) for place, (said, name) in enumerate(DTYPES)}


class _Writable(Protocol):
    def write(self, data: Any, /) -> Any: ...


def write_weights(file: _Writable, weights: Mapping[str, Tensor]) -> None:
    """What safetensors' save_model would write, and load_model reads; tied tensors are written once.

    Raises ValueError for tensors that are parts of others, or of a dtype that such a file cannot hold.
    """
    instead = _written_as(weights)
    names = [name for name in weights if name not in instead]
    if unknown := [name for name in names if weights[name].dtype not in NAMES]:
        raise ValueError(f"{unknown[0]}: a safetensors file cannot hold {weights[unknown[0]].dtype}")
    names.sort(key=lambda name: (-NAMES[weights[name].dtype][0], name))
    header: dict[str, Any] = {"__metadata__": instead} if instead else {}
    end = 0
    for name in names:
        tensor = weights[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        dtype = NAMES[tensor.dtype][1]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        if weights[name].numel():
            file.write(_content(weights[name]))


def _content(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _written_as(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of tensors that are tied to another, each with the name that stands for it: of all of them the first."""
    sharing: dict[int, list[str]] = defaultdict(list)
    for name in sorted(weights):
        if weights[name].untyped_storage().nbytes():
            sharing[weights[name].untyped_storage()._cdata].append(name)
    instead: dict[str, str] = {}
    for names in sharing.values():
        first = _first_whole(names, weights)
        instead |= {name: first for name in names if name != first}
    return dict(sorted(instead.items()))


def _first_whole(names: Iterable[str], weights: Mapping[str, Tensor]) -> str:
    """The first that has all of the memory that they share: the others can be made of it again."""
    for name in names:
        tensor = weights[name]
        if tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes():
            return name
    raise ValueError(f"{', '.join(names)}: parts of a tensor that is not among the weights, which cannot be saved")
