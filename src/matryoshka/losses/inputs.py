"""What a loss asks for besides similarities: the names in its forward."""

from __future__ import annotations

import inspect

from torch import nn

MADE = frozenset({"full_BN"})  # by MatryoshkaLoss, of the embeddings; the others come with the batch


def names_of(loss: nn.Module) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The names that a batch may have, those of them that the loss cannot do without, and those that are made.

    It cannot do without what has no default in its forward, and what it says itself in its `needs`.
    """
    _, *others = inspect.signature(loss.forward).parameters.values()
    names = frozenset(other.name for other in others)
    needs = frozenset(other.name for other in others if other.default is other.empty)
    return names - MADE, (needs | getattr(loss, "needs", frozenset())) - MADE, names & MADE
