"""What the next row of the log sums up."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.losses.matryoshka import NestedLoss


class SinceLastRow:
    """Sums since the last logged row. Losses stay on the device until the row is closed."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.dim_losses: dict[int, list[Tensor]] = {}  # each with its share of an update
        self.dim_shares: dict[int, float] = {}
        self.gradient_shares: dict[int, Tensor] = {}
        self.pairs = self.tokens = self.updates = 0
        self.seconds = 0.0
        self.clock = time.perf_counter()

    def add(self, batch: PackedBatch, loss: NestedLoss, divisor: int) -> None:
        """Count one micro-batch, its losses as shares of an update."""
        self.losses.append(loss.total.detach() / divisor)
        for dim, value in loss.per_dim.items():
            self.dim_losses.setdefault(dim, []).append(value / divisor)
            self.dim_shares[dim] = self.dim_shares.get(dim, 0.0) + 1 / divisor
        self.pairs += batch.columns[0]
        self.tokens += sum(batch.lengths)

    def state(self) -> dict[str, Any]:
        """All sums as they are now, without what is only time."""
        return {
            "losses": list(self.losses),
            "dim_losses": {dim: list(losses) for dim, losses in self.dim_losses.items()},
            "dim_shares": dict(self.dim_shares),
            "pairs": self.pairs,
            "tokens": self.tokens,
            "updates": self.updates,
            "seconds": self.seconds + time.perf_counter() - self.clock,
        }

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with sums as `state` gave them."""
        self.losses = [loss.to(device) for loss in state["losses"]]
        self.dim_losses = {dim: [loss.to(device) for loss in losses] for dim, losses in state["dim_losses"].items()}
        self.dim_shares = dict(state["dim_shares"])
        self.pairs, self.tokens, self.updates = state["pairs"], state["tokens"], state["updates"]
        self.seconds = state["seconds"]

    def go_on(self) -> None:
        """What follows is training again."""
        self.clock = time.perf_counter()

    def pause(self) -> None:
        """Count the time until now; what follows is not training."""
        self.seconds += time.perf_counter() - self.clock

    def close(self) -> dict[str, float]:
        """The row: mean loss of an update, and of each dim where it counted."""
        loss = torch.stack(self.losses).sum() / self.updates
        dims = {dim: torch.stack(losses).sum() / self.dim_shares[dim] for dim, losses in self.dim_losses.items()}
        row = {"train/loss": float(loss)} | {f"train/loss/dim_{dim}": float(value) for dim, value in dims.items()}
        row |= {f"train/gradient_share/dim_{dim}": float(share) for dim, share in self.gradient_shares.items()}
        self.pause()
        row["train/pairs_per_second"] = self.pairs / self.seconds
        row["train/tokens_per_second"] = self.tokens / self.seconds
        return row
