"""The rows of the log: what the next one sums up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.memory.peak import peak_memory


@dataclass(frozen=True)
class MicroBatch:
    """One of an update's micro-batches: what the log counts of it, and its rows.

    values_V: the losses of its dims and the whole one, on the device. divisor: what the loss is divided by. rows: its
    pairs' numbers in the training set. masked: the share of wrong candidates that are left out. source: of a mixture.
    """

    dims: Sequence[int]
    values_V: Tensor
    divisor: int
    pairs: int
    tokens: int
    rows: tuple[int, ...] = ()
    masked: float = 0.0
    source: str = ""

    @classmethod
    def of(cls, batch: PackedBatch, dims: Sequence[int], divisor: int) -> MicroBatch:
        """The entry for a batch that is not encoded yet: losses of 0."""
        values_V = torch.zeros(len(dims) + 1, device=batch.input_ids_T.device)
        rows, candidates = batch.columns[0], sum(batch.columns[1:])
        masked = batch.masked / max(1, rows * (candidates - 1))
        return cls(tuple(sorted(dims)), values_V, divisor, rows, sum(batch.lengths), batch.rows, masked)

    def of_loss(self, loss: NestedLoss) -> MicroBatch:
        """The entry with its loss, without the graph."""
        return replace(self, values_V=torch.cat([loss.losses_K, loss.total.detach()[None]]))

    @property
    def total(self) -> Tensor:
        """The loss that is trained on."""
        return self.values_V[-1]

    @property
    def per_dim(self) -> dict[int, Tensor]:
        """dim -> its loss."""
        return dict(zip(self.dims, self.values_V[:-1].unbind(), strict=True))


class LogRows:
    """The micro-batches since the last logged row. Losses stay on the device until the row is closed.

    source_of: the source of a row's number, where there are several.
    """

    def __init__(self) -> None:
        self.source_of: Callable[[int], str] | None = None
        self._begin()

    def _begin(self) -> None:
        self.counted: list[MicroBatch] = []
        self.gradient_shares: Mapping[int, Tensor] = {}
        self.updates = 0
        self.seconds = 0.0
        self.clock = time.perf_counter()

    def count(self, window: Sequence[MicroBatch], gradient_shares: Mapping[int, Tensor]) -> None:
        """Count the micro-batches of an update that was made. gradient_shares: of each dim, where they were taken."""
        of = self.source_of
        self.counted += window if of is None else [replace(micro, source=of(micro.rows[0])) for micro in window]
        self.gradient_shares = gradient_shares
        self.updates += 1

    def start_clock(self) -> None:
        """Count the time from now on."""
        self.clock = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """All as of the last update, and the seconds until now."""
        names = ("dims", "values_V", "divisor", "pairs", "tokens", "masked", "source")
        return {
            "counted": [{name: getattr(micro, name) for name in names} for micro in self.counted],
            "updates": self.updates,
            "seconds": self.seconds + time.perf_counter() - self.clock,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.counted = [MicroBatch(**micro) for micro in state["counted"]]
        self.updates, self.seconds = state["updates"], state["seconds"]

    def pause(self) -> None:
        """Count the time until now; what follows is not training."""
        self.seconds += time.perf_counter() - self.clock

    def close(self) -> dict[str, float]:
        """The row, after which a new one begins: mean loss of an update, and of each dim and source where it counted.

        Of no update made there is none.
        """
        row, losses, shares = dict[str, float](), dict[str, float](), dict[str, float]()
        for micro, (*of_dims, total) in zip(self.counted, _read(self.counted), strict=True):
            row["train/loss"] = row.get("train/loss", 0.0) + total / micro.divisor / self.updates
            named = {f"dim_{dim}": loss for dim, loss in zip(micro.dims, of_dims, strict=True)}
            for name, loss in {**named, **({micro.source: total} if micro.source else {})}.items():
                losses[name] = losses.get(name, 0.0) + loss / micro.divisor
                shares[name] = shares.get(name, 0.0) + 1 / micro.divisor
        row |= {f"train/loss/{name}": loss / shares[name] for name, loss in losses.items()}
        row |= {f"train/gradient_share/dim_{dim}": float(share) for dim, share in self.gradient_shares.items()}
        if masked := sum(micro.masked for micro in self.counted):
            row["train/masked"] = masked / len(self.counted)
        self.pause()
        row["train/pairs_per_second"] = sum(micro.pairs for micro in self.counted) / self.seconds
        row["train/tokens_per_second"] = sum(micro.tokens for micro in self.counted) / self.seconds
        self._begin()
        return row


def memory_row(device: torch.device) -> dict[str, float]:
    """The peak of memory so far, where it can be known."""
    peak = peak_memory(device)
    return {} if peak is None else {"train/memory_gigabytes": peak / 1e9}


def _read(counted: Sequence[MicroBatch]) -> list[list[float]]:
    """The losses of each, read from the device at once; those of a checkpoint come from elsewhere."""
    if not counted:
        return []
    device = counted[-1].values_V.device
    values_R = torch.cat([micro.values_V.to(device) for micro in counted])
    return [values_V.tolist() for values_V in values_R.cpu().split([len(micro.values_V) for micro in counted])]
