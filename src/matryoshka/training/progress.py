"""How far a training is."""

from __future__ import annotations

from typing import Any


class Progress:
    """updates: those made or left out. selecting: the selecting metric after each epoch."""

    def __init__(self) -> None:
        self.updates = 0
        self.selecting: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """Both."""
        return {"updates": self.updates, "selecting": list(self.selecting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.updates, self.selecting = int(state["updates"]), list(state["selecting"])
