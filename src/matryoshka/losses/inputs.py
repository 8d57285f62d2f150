"""What a loss asks for besides similarities: the names in its forward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection

from torch import Tensor, nn

# By MatryoshkaLoss, of the embeddings; the others come with the batch. anchors_BB, positives_BN: as `among` gives them.
MADE = frozenset({"full_BN", "anchors_BB", "positives_BN"})
Similarities = Callable[[Tensor, Tensor], Tensor]


def names_of(loss: nn.Module) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The names that a batch may have, those of them that the loss cannot do without, and those that are made.

    It cannot do without what has no default in its forward, and what it says itself in its `needs`.
    """
    _, *others = inspect.signature(loss.forward).parameters.values()
    names = frozenset(other.name for other in others)
    needs = frozenset(other.name for other in others if other.default is other.empty)
    return names - MADE, (needs | getattr(loss, "needs", frozenset())) - MADE, names & MADE


def among(
    names: Collection[str], similarities: Similarities, anchors_BD: Tensor, candidates_ND: Tensor
) -> dict[str, Tensor]:
    """Similarities within each side, of those that are named: anchors_BB among the anchors, positives_BN of the
    positives with all candidates, themselves among them."""
    positives_BD = candidates_ND[: len(anchors_BD)]
    sides = {"anchors_BB": (anchors_BD, anchors_BD), "positives_BN": (positives_BD, candidates_ND)}
    return {name: similarities(*both) for name, both in sides.items() if name in names}
