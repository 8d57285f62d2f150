"""Weights between those before a training and those after it, or of several runs: their weighted mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt
from safetensors import safe_open
from torch import nn

Share = Annotated[float, Gt(0), Lt(1), "{} is not between 0 and 1; use for example 0.5"]


class Blend:
    """Which blends are tried after a training, share * tuned + (1 - share) * start, and what they may cost elsewhere.

    The tuned weights and those before the training are candidates too, and the untrained encoder alone: what the
    choosing queries like best is kept. shares: of the tuned weights. at_most: how much lower than the untrained
    encoder's the selecting metric may be at any dim of a further set (`sets`); null: as much as it is.
    Source: Wortsman et al. 2022, arXiv:2109.01903 (WiSE-FT).
    """

    def __init__(
        self,
        shares: Sequence[Share] = (0.5,),
        at_most: Annotated[float, Ge(0), Le(1), "0.005, or null for no limit"] | None = 0.005,
    ) -> None:
        self.shares = sorted(set(shares), reverse=True)
        self.at_most = at_most


@dataclass(frozen=True)
class Candidate:
    """Weights that may be kept. share: of the tuned ones; 0: the weights before training; None: without projection.

    projected: whether there is a projection behind them.
    """

    share: float | None
    value: float
    projected: bool = True

    @property
    def untrained(self) -> bool:
        """Whether it is the untrained encoder alone."""
        return self.share is None or (self.share == 0 and not self.projected)

    @property
    def name(self) -> str:
        """In words, for tables."""
        if self.share is None:
            return "untrained"
        return {0.0: "before training", 1.0: "tuned"}.get(self.share, f"{self.share:g} tuned")


@dataclass(frozen=True)
class BlendOutcome:
    """What the candidates came to. kept: one of them. refused: name of a candidate -> why it was not kept."""

    metric: str
    candidates: tuple[Candidate, ...]
    kept: Candidate
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """What was kept, beside the others, and what kept better ones from it."""
        others = ", ".join(f"{other.name} {other.value:.4f}" for other in self.candidates if other != self.kept)
        values = f"{self.metric} {self.kept.value:.4f} on the choosing queries ({others})"
        return "; ".join([f"{self._weights}: {values}", *self.refused.values()])

    @property
    def _weights(self) -> str:
        share, refused = self.kept.share, "what is better is not allowed"
        if share is None:
            why = refused if self.refused else "nothing that was trained is better"
            return f"a = 0 without the projection, the untrained encoder: {why}"
        if share == 0:
            why = refused if self.refused else "training made them no better"
            return f"a = 0, the weights before training: {why}"
        return f"a = {share:g}, the tuned weights" if share == 1 else f"a = {share:g} of the tuned weights"


def set_mixed(model: nn.Module, files: Mapping[Path, float]) -> None:
    """Give the model the sum of share * weights of each file, one tensor after another, added up in fp32.

    files: safetensors with equal names -> share; what is no floating-point tensor is the first file's. Raises KeyError
    for a tensor that the model does not have or another file lacks.
    """
    own = model.state_dict()
    with ExitStack() as stack, torch.no_grad():
        opened = [(stack.enter_context(safe_open(path, "pt")), share) for path, share in files.items()]
        for name in opened[0][0].keys():  # noqa: SIM118  no dictionary
            first = opened[0][0].get_tensor(name)
            if first.is_floating_point():
                first = torch.stack([share * file.get_tensor(name).float() for file, share in opened]).sum(0)
            own[name].copy_(first)
