"""Parts that must survive a stop: they give their state and take it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """A part with a state of plain values, given as copies, and of tensors, which may be those in use."""

    def state_dict(self) -> Mapping[str, Any]:
        """The state as it is now."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Go on from such a state."""


@dataclass(frozen=True)
class Parts:
    """The parts of a run by name.

    of_step: what a micro-batch changes, such as draws; their state is that of the last update, since micro-batches
    of an open window are computed again. of_run: what only updates and evaluations change.
    """

    of_step: Mapping[str, Stateful]
    of_run: Mapping[str, Stateful]

    @classmethod
    def among(cls, of_step: Mapping[str, object], of_run: Mapping[str, object]) -> Parts:
        """Those of the things given that have a state."""
        return cls(_stateful(of_step), _stateful(of_run))

    def load(self, of_step: Mapping[str, Any], of_run: Mapping[str, Any]) -> None:
        """Give every part its state."""
        for parts, states in ((self.of_step, of_step), (self.of_run, of_run)):
            for name, part in parts.items():
                part.load_state_dict(states[name])


def states(parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """The state of each part."""
    return {name: part.state_dict() for name, part in parts.items()}


def _stateful(things: Mapping[str, object]) -> dict[str, Stateful]:
    return {name: thing for name, thing in things.items() if isinstance(thing, Stateful)}
