"""The rows of the log: what the next one sums up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.memory.peak import peak_memory


@dataclass(frozen=True)
class MicroBatch:
    """One of an update's micro-batches: what the log counts of it, and its rows.

    total, per_dim: its loss, on the device. divisor: what the loss is divided by. rows: its pairs' numbers in the
    training set.
    """

    total: Tensor
    per_dim: dict[int, Tensor]
    divisor: int
    pairs: int
    tokens: int
    rows: tuple[int, ...]

    @classmethod
    def of(cls, batch: PackedBatch, loss: NestedLoss, divisor: int) -> MicroBatch:
        """The entry for a batch and its loss, without the graph and without the tokens."""
        pairs, tokens = batch.columns[0], sum(batch.lengths)
        return cls(loss.total.detach(), loss.per_dim, divisor, pairs, tokens, batch.rows)


class LogRows:
    """Sums since the last logged row. Losses stay on the device until the row is closed.

    window: the micro-batches of the update that is not made yet; they count once it is.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.window: list[MicroBatch] = []
        self.losses: list[Tensor] = []
        self.dim_losses: dict[int, list[Tensor]] = {}  # each with its share of an update
        self.dim_shares: dict[int, float] = {}
        self.gradient_shares: dict[int, Tensor] = {}
        self.pairs = self.tokens = self.updates = 0
        self.seconds = 0.0
        self.clock = time.perf_counter()

    def count(self, *, made: bool) -> None:
        """Count the micro-batches of an update that was made, their losses as shares of it; of another nothing."""
        window, self.window = self.window, []
        if not made:
            self.gradient_shares = {}
            return
        for micro in window:
            self.losses.append(micro.total / micro.divisor)
            for dim, value in micro.per_dim.items():
                self.dim_losses.setdefault(dim, []).append(value / micro.divisor)
                self.dim_shares[dim] = self.dim_shares.get(dim, 0.0) + 1 / micro.divisor
            self.pairs += micro.pairs
            self.tokens += micro.tokens
        self.updates += 1

    def start_clock(self) -> None:
        """Count the time from now on."""
        self.clock = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """All sums as of the last update, and the seconds until now."""
        return {
            "losses": list(self.losses),
            "dim_losses": {dim: list(losses) for dim, losses in self.dim_losses.items()},
            "dim_shares": dict(self.dim_shares),
            "pairs": self.pairs,
            "tokens": self.tokens,
            "updates": self.updates,
            "seconds": self.seconds + time.perf_counter() - self.clock,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with such sums."""
        self.losses = list(state["losses"])
        self.dim_losses = {dim: list(losses) for dim, losses in state["dim_losses"].items()}
        self.dim_shares = dict(state["dim_shares"])
        self.pairs, self.tokens, self.updates = state["pairs"], state["tokens"], state["updates"]
        self.seconds = state["seconds"]

    def pause(self) -> None:
        """Count the time until now; what follows is not training."""
        self.seconds += time.perf_counter() - self.clock

    def close(self) -> dict[str, float]:
        """The row, after which a new one begins: mean loss of an update, and of each dim where it counted.

        Of no update made there is none.
        """
        row = {"train/loss": float(_sum(self.losses) / self.updates)} if self.losses else {}
        dims = {dim: _sum(losses) / self.dim_shares[dim] for dim, losses in self.dim_losses.items()}
        row |= {f"train/loss/dim_{dim}": float(value) for dim, value in dims.items()}
        row |= {f"train/gradient_share/dim_{dim}": float(share) for dim, share in self.gradient_shares.items()}
        self.pause()
        row["train/pairs_per_second"] = self.pairs / self.seconds
        row["train/tokens_per_second"] = self.tokens / self.seconds
        self._begin()
        return row


def memory_row(device: torch.device) -> dict[str, float]:
    """The peak of memory so far, where it can be known."""
    peak = peak_memory(device)
    return {} if peak is None else {"train/memory_gigabytes": peak / 1e9}


def _sum(losses: list[Tensor]) -> Tensor:
    """The sum of losses that come from the device or from a checkpoint."""
    return torch.stack([loss.to(losses[-1].device) for loss in losses]).sum()
