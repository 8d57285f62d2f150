"""The most memory in use: so far, of the process or of a GPU; within a block, of all tensors alive at once."""

from __future__ import annotations

import sys
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(device: torch.device) -> int | None:
    """Bytes: of a CUDA device those of all tensors at once, elsewhere those of the whole process. Waits for nothing.

    The process's since it started: of several jobs in one process the largest so far. None on Windows.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return None
    import resource

    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made inside it that are alive: `now`, and at most (`peak`).

    Each storage counts once, however many tensors share it; those that were there before do not. What a kernel takes
    for itself is not seen. On any device.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self._sizes: dict[int, int] = {}

    def restart(self) -> int:
        """The peak up to here; from here on another is counted."""
        peak, self.peak = self.peak, self.now
        return peak

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one of torch's operations and look at what it made."""
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self._know(leaf, 0)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._know(leaf, leaf.untyped_storage().nbytes())
        return result

    def _know(self, tensor: Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = size
            weakref.finalize(storage, self._forget, key).atexit = False
            self.now += size
            self.peak = max(self.peak, self.now)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
