"""The operations that a piece of code makes, counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = {"view", "t", "transpose", "unsqueeze", "select", "slice", "unbind", "expand", "detach", "alias", "permute"}


class Calls(TorchDispatchMode):
    """Counts every operation that is no view, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count[name] += name not in VIEWS
        return func(*args, **(kwargs or {}))
