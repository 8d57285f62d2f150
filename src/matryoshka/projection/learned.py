"""Projections by gradient descent on the nested loss, from the closed form on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from matryoshka.encoder.progress import progress_bar
from matryoshka.projection.closed_form import rotation
from matryoshka.projection.projection import Log, Rate, Side

if TYPE_CHECKING:
    from matryoshka.projection.pair_vectors import PairVectors

FitRate = Annotated[float, Gt(0), Le(1), "1e-3"]
Steps = Annotated[int, Ge(1), Le(1_000_000), "100"]
Strength = Annotated[float, Ge(0), Le(1_000_000), "0.1"]
# Of Adam. Turning within the numbers between two dims changes nothing, so its gradient is rounding alone, 1e-9 or less,
# which with the usual 1e-8 is blown up to steps of nearly the full rate.
EPSILON = 1e-7
BatchRows = Annotated[int, Ge(2), Le(1_000_000), "512"]


class Learned:
    """A rotation and, behind it, any matrix that is held to the identity, learned together by the nested loss.

    rotation @ cayley(A) @ free, from A = 0 and free = identity, with strength * ||free - identity||^2 beside the loss:
    what a rotation can do is free of cost, only what changes cosines at full width is held back. side=query: free
    alone, for questions alone, with the vectors of documents as they are.
    """

    kind = "learned"

    def __init__(
        self,
        strength: Strength = 0.1,
        steps: Steps = 80,
        pairs_per_step: BatchRows = 512,
        fit_lr: FitRate = 1e-3,
        side: Side = "both",
        lr: Rate | None = 1e-4,
    ) -> None:
        self.strength, self.steps, self.pairs_per_step, self.fit_lr = strength, steps, pairs_per_step, fit_lr
        self.side, self.lr = side, lr

    def fit(self, pairs: PairVectors, loss: nn.Module, seed: int, log: Log | None = None) -> Tensor:
        """(D, D): in the coordinates of the rotation, where Adam changes other domains least."""
        both = self.side == "both"
        start_DD, identity_DD = rotation(pairs) if both else torch.eye(pairs.width), torch.eye(pairs.width)
        turn_DD, free_DD = torch.zeros(pairs.width, pairs.width, requires_grad=both), identity_DD.clone()
        free_DD.requires_grad_()

        def matrix() -> Tensor:
            return start_DD @ cayley(turn_DD) @ free_DD if both else free_DD

        def total(anchors_BD: Tensor, positives_BD: Tensor, mask_BB: Tensor) -> Tensor:
            matrix_DD = matrix()
            positives_BD = positives_BD @ matrix_DD if both else positives_BD
            nested: Tensor = loss(anchors_BD @ matrix_DD, positives_BD, mask_BB).total
            return nested + self.strength * (free_DD - identity_DD).square().sum()

        batches = _Batches(pairs, self.pairs_per_step, self.steps, seed)
        _descend([turn_DD, free_DD] if both else [free_DD], total, batches, self.fit_lr, self.kind, log)
        return matrix().detach()


class Orthogonal:
    """A rotation, learned within rotations: cosines at full width stay as they are, small dims gain most.

    rotation @ cayley(A) with A skew-symmetric. Source: Cayley 1846; Lezcano-Casado and Martínez-Rubio 2019,
    arXiv:1901.08428.
    """

    kind = "orthogonal"
    side: Side = "both"

    def __init__(
        self,
        steps: Steps = 100,
        pairs_per_step: BatchRows = 512,
        fit_lr: FitRate = 1e-3,
        lr: Rate | None = 1e-4,
    ) -> None:
        self.steps, self.pairs_per_step, self.fit_lr, self.lr = steps, pairs_per_step, fit_lr, lr

    def fit(self, pairs: PairVectors, loss: nn.Module, seed: int, log: Log | None = None) -> Tensor:
        """Found in fp32; the matrix that is returned is computed in fp64, so that it is orthogonal to rounding."""
        start_DD, free_DD = rotation(pairs), torch.zeros(pairs.width, pairs.width, requires_grad=True)

        def total(anchors_BD: Tensor, positives_BD: Tensor, mask_BB: Tensor) -> Tensor:
            matrix_DD = start_DD @ cayley(free_DD)
            nested: Tensor = loss(anchors_BD @ matrix_DD, positives_BD @ matrix_DD, mask_BB).total
            return nested

        batches = _Batches(pairs, self.pairs_per_step, self.steps, seed)
        _descend([free_DD], total, batches, self.fit_lr, self.kind, log)
        return (start_DD.double() @ cayley(free_DD.detach().double())).float()


def cayley(free_DD: Tensor) -> Tensor:
    """(I + S / 2)^-1 (I - S / 2) with S = A - A^T, which is skew-symmetric: orthogonal for every A."""
    skew_DD = free_DD - free_DD.T
    identity_DD = torch.eye(len(free_DD), dtype=free_DD.dtype)
    rotated_DD: Tensor = torch.linalg.solve(identity_DD + skew_DD / 2, identity_DD - skew_DD / 2)
    return rotated_DD


class _Batches:
    """Batches of pairs, drawn by the seed: each epoch in another order, what is left over is drawn in the next."""

    def __init__(self, pairs: PairVectors, size: int, steps: int, seed: int) -> None:
        self.pairs, self.size, self.steps, self.seed = pairs, min(size, len(pairs)), steps, seed

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        generator, order_N, place = torch.Generator().manual_seed(self.seed), torch.zeros(0, dtype=torch.int64), 0
        for _ in range(self.steps):
            if place + self.size > len(order_N):
                order_N, place = torch.randperm(len(self.pairs), generator=generator), 0
            yield self.pairs.batch(order_N[place : place + self.size])
            place += self.size


def _descend(
    learned: list[Tensor], total: Callable[..., Tensor], batches: _Batches, rate: float, kind: str, log: Log | None
) -> None:
    """Adam at a rate that falls to 0 by a cosine; a bar on a terminal."""
    optimizer = torch.optim.Adam(learned, lr=rate, eps=EPSILON)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    with progress_bar(f"fitting the {kind} projection", len(batches), "steps") as advance, torch.enable_grad():
        for step, batch in enumerate(batches, start=1):
            loss = total(*batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            advance(1)
            if log:
                log(step, float(loss.detach()))
