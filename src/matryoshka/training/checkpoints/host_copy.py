"""A state copied to the memory of the host, to be written while the training changes the original."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from matryoshka.memory.available import free_on_host

T = TypeVar("T")
ALIGNED = 64  # bytes
BLOCK = 64 << 20  # bytes; torch rounds pinned memory up to a power of two, so that many tensors are put into one block
SHARE = 0.5  # of the host's free memory that a copy may take: the rest is for what reads the data, and for files


class HostCopy:
    """One copy at a time: taking the next one overwrites it, in the memory that is there already.

    Of tensors on a GPU it is in pinned memory, into which the GPU copies at the full rate.
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._for: tuple[bool, list[int]] | None = None

    def take(self, state: T) -> T:
        """The state with copies of its tensors, complete when this returns; tensors that share memory share it there.

        Raises MemoryError where the host has no room for it.
        """
        tensors = [tensor for tensor in _tensors(state) if _is_plain(tensor)]
        storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}
        devices = {storage.device for storage in storages.values() if storage.device.type == "cuda"}
        buffers = self._buffers([storage.nbytes() for storage in storages.values()], pinned=bool(devices))
        for storage, buffer in zip(storages.values(), buffers, strict=True):
            whole = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
            buffer.copy_(whole, non_blocking=True)
        for device in devices:
            torch.cuda.current_stream(device).synchronize()
        copies = dict(zip(storages, buffers, strict=True))
        # What deepcopy finds in its memo it takes for copied. Other values and further tensors it copies itself.
        memo = {id(tensor): _like(tensor, copies[tensor.untyped_storage()._cdata]) for tensor in tensors}
        return copy.deepcopy(state, memo)

    def forget(self) -> None:
        """Give the memory back."""
        self._blocks, self._for = [], None

    def _buffers(self, sizes: list[int], pinned: bool) -> list[Tensor]:
        """Bytes for each, with a storage of its own, so that none is written with another's."""
        blocks, places = _placed(sizes)
        if self._for != (pinned, blocks):
            self.forget()
            if (free := free_on_host()) is not None and sum(blocks) > SHARE * free:
                raise MemoryError(f"{sum(blocks) / 1e9:.1f} GB to copy to, where the host has {free / 1e9:.1f} GB free")
            self._blocks = [torch.empty(size, dtype=torch.uint8, pin_memory=pinned) for size in blocks]
            self._for = (pinned, blocks)
        arrays = [block.numpy() for block in self._blocks]
        parts = ((arrays[block], start, size) for (block, start), size in zip(places, sizes, strict=True))
        return [torch.from_numpy(array[start : start + size]) for array, start, size in parts]


def _placed(sizes: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Sizes of blocks, powers of two, and of each size the block and the place in it: the largest first."""
    blocks: list[int] = []
    free: list[int] = []
    places = [(0, 0)] * len(sizes)
    left = sum(map(_aligned, sizes))
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        needed = _aligned(sizes[index])
        block = next((block for block, room in enumerate(free) if room >= needed), len(blocks))
        if block == len(blocks):
            blocks.append(1 << (max(needed, min(left, BLOCK)) - 1).bit_length())
            free.append(blocks[-1])
        places[index] = (block, blocks[block] - free[block])
        free[block] -= needed
        left -= needed
    return blocks, places


def _aligned(size: int) -> int:
    return max(1, -(-size // ALIGNED)) * ALIGNED


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.layout == torch.strided and not (tensor.is_conj() or tensor.is_neg())


def _like(tensor: Tensor, buffer: Tensor) -> Tensor:
    """The same view of other memory."""
    where = (buffer.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
    view = torch.empty(0, dtype=tensor.dtype).set_(*where)
    return view.requires_grad_(tensor.requires_grad)
