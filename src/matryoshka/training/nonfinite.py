"""An update whose loss or gradient is NaN or infinite is not made: the run stops, or leaves it out."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from matryoshka.processes.together import add_up
from matryoshka.training.clipping import gradient_norms
from matryoshka.training.log_rows import MicroBatch

log = logging.getLogger("matryoshka")

Policy = Literal["stop", "skip"]


@dataclass(frozen=True)
class Evidence:
    """The evidence on an update that was not made.

    update: its number, from 1. epoch: its last micro-batch's, from 1. window: its micro-batches. gradient_norms: of
    each parameter, by name, in the order of the encoder's modules. weights: names of parameters that are not finite
    themselves.
    """

    update: int
    epoch: int
    window: Sequence[MicroBatch]
    gradient_norms: Mapping[str, float]
    weights: Sequence[str]

    @property
    def bad(self) -> list[int]:
        """The places in the window of micro-batches whose loss is not finite."""
        return [i for i, micro in enumerate(self.window) if not math.isfinite(micro.total)]

    @property
    def first_parameter(self) -> str | None:
        """Whose gradient the backward pass, from the loss to the inputs, first found not finite; None if no one's."""
        broken = [name for name, norm in self.gradient_norms.items() if not math.isfinite(norm)]
        return broken[-1] if broken else None

    def sentences(self) -> list[str]:
        """A sentence that says what is not finite, and where."""
        said = []
        for i in self.bad:
            micro = self.window[i]
            dims = [dim for dim, loss in micro.per_dim.items() if not math.isfinite(loss)]
            at = f" at {'dim' if len(dims) == 1 else 'dims'} {', '.join(map(str, sorted(dims, reverse=True)))}"
            said.append(
                f"the loss of micro-batch {i + 1} of {len(self.window)} is {float(micro.total)}{at * bool(dims)}"
            )
        if name := self.first_parameter:
            norm = self.gradient_norms[name]
            also = "" if self.bad else "every loss is finite, but "
            said.append(f"{also}the gradient of {name}, the first in the backward pass, is {norm}")
        elif not self.bad:
            said.append("every loss and each parameter's gradient is finite, but their norm together is not")
        if self.weights:
            said.append(f"the weights themselves were not finite before it, {self.weights[0]} first")
        return said


class NotFiniteError(ArithmeticError):
    """The end of a run at an update that cannot be made. Its evidence is there to be written down."""

    def __init__(self, message: str, evidence: Evidence) -> None:
        super().__init__(message)
        self.evidence = evidence


@dataclass(frozen=True)
class Step:
    """An update of which it is not known yet whether it is finite, with all that is left of it on the device.

    shares: of each dim in the gradient, where they are logged. norms_P: of each gradient, by the names of the
    parameters. broken: 1 where it is not finite, else 0.
    """

    update: int
    epoch: int
    window: Sequence[MicroBatch]
    shares: Mapping[int, Tensor]
    names: Sequence[str]
    norms_P: Tensor
    norm: Tensor
    broken: Tensor

    @classmethod
    def of(
        cls,
        update: int,
        epoch: int,
        window: Sequence[MicroBatch],
        gradients: Mapping[str, Tensor],
        shares: Mapping[int, Tensor] | None = None,
    ) -> Step:
        """As the gradients are, before clipping. Of several processes all decide alike: they add up what each found."""
        norms_P = gradient_norms(list(gradients.values()))
        norm = torch.linalg.vector_norm(norms_P)
        values_W = torch.cat([norm[None].float(), *(micro.values_V for micro in window)])
        broken = (add_up((~torch.isfinite(values_W)).any().float()) > 0).float()  # a fused optimizer knows 1 alone
        return cls(update, epoch, window, shares or {}, list(gradients), norms_P, norm, broken)


class NonFiniteGuard:
    """Decides whether an update is made: only if the losses of its window and the gradient's norm are finite.

    policy: stop raises NotFiniteError. skip leaves the update out: weights and the optimizer's averages stay, while its
    number and the schedule go on, so that the run has as many updates as planned; after more than skipped_at_most of
    them it ends all the same. skipped: how many it were so far.
    """

    def __init__(self, policy: Policy = "stop", skipped_at_most: int = 0) -> None:
        self.policy = policy
        self.skipped_at_most = skipped_at_most
        self.skipped = 0

    def allows(self, step: Step, encoder: nn.Module) -> bool:
        """Whether the update is made, or was. It reads one number from the device. Raises NotFiniteError.

        encoder: with the weights as they are without this update.
        """
        if not read(step.broken):
            return True
        norms = dict(zip(step.names, step.norms_P.tolist(), strict=True))
        evidence = Evidence(step.update, step.epoch, step.window, norms, _broken_weights(encoder))
        message = f"update {step.update} in epoch {step.epoch} was not made: {'; '.join(evidence.sentences())}"
        if self.policy == "skip":
            self.skipped += 1
            if self.skipped <= self.skipped_at_most:
                log.warning("%s (skipped so far: %d)", message, self.skipped)
                return False
            message += f"; it is the last of {self.skipped} such updates, where skipped_at_most={self.skipped_at_most}"
        raise NotFiniteError(message, evidence)

    def state_dict(self) -> dict[str, Any]:
        """The count of skipped updates."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = int(state["skipped"])

    def row(self, norm: Tensor) -> dict[str, float]:
        """Entries of a logged row: the last update's gradient norm, if it was made, and the skipped updates so far."""
        row = {"train/gradient_norm": float(norm)}
        row = row if math.isfinite(row["train/gradient_norm"]) else {}
        return row | ({"train/skipped_updates": float(self.skipped)} if self.policy == "skip" else {})


def known_at_once(step: Step) -> bool:
    """Whether nothing is waited for where its flag is read."""
    return step.broken.device.type == "cpu"


def read(flag: Tensor) -> bool:
    """A number of the device as a truth: the one place where training waits for it between two rows of the log."""
    return bool(flag)


def _broken_weights(encoder: nn.Module) -> list[str]:
    named: Iterable[tuple[str, nn.Parameter]] = encoder.named_parameters()
    return [name for name, p in named if not bool(torch.isfinite(p).all())]
