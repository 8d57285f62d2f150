"""Results of a GPU on the host, without a wait after each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key")


class Rows(Protocol):
    """Where embeddings go, text by text: a tensor, or what keeps them elsewhere."""

    def __setitem__(self, rows: Any, values_SD: Tensor, /) -> None: ...


def on_host(results: Iterable[tuple[Key, Tensor]]) -> Iterator[tuple[Key, Tensor]]:
    """The tensors on the host, in order, each with its key.

    From a GPU a tensor is handed over only when the next is under way: while the GPU computes it, the host prepares
    another batch. Two at most are under way, so memory stays bounded. Elsewhere each comes at once.
    """
    waiting: tuple[Key, Tensor, torch.cuda.Event] | None = None
    for key, result in results:
        if not result.is_cuda:
            yield key, result.cpu()
            continue
        copy = result.to("cpu", non_blocking=True)  # torch takes page-locked memory for it
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(result.device))
        if waiting is not None:
            yield _finished(*waiting)
        waiting = key, copy, done
    if waiting is not None:
        yield _finished(*waiting)


def _finished(key: Key, copy: Tensor, done: torch.cuda.Event) -> tuple[Key, Tensor]:
    done.synchronize()
    return key, copy
