"""A group of its own for messages that may come late: while one process works alone, the others wait for hours."""

from __future__ import annotations

from datetime import timedelta

import torch.distributed as dist

PATIENCE = timedelta(days=1)  # that the others wait while the first measures; one that dies is noticed at once
_made: list[dist.ProcessGroup] = []


def waiting_group() -> dist.ProcessGroup:
    """All processes, over gloo, whatever the devices talk by. Made when they first need it, which all do at once.

    A collective on GPUs gives up early, as the host cannot see that another process has died; gloo sees it.
    """
    if not _made:
        _made.append(dist.new_group(backend="gloo", timeout=PATIENCE))
    return _made[0]


def end() -> None:
    """End all groups of this process."""
    _made.clear()
    dist.destroy_process_group()
