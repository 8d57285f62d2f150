"""Losses over score matrices, and the one place that turns nested embeddings into scores."""

from matryoshka.losses.distillation import DistilledLoss
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.losses.ranking import RankingLoss, ranking_loss
from matryoshka.losses.ranking_directions import RankingDirectionsLoss
from matryoshka.losses.similarities import nested_similarities

__all__ = [
    "DistilledLoss",
    "MatryoshkaLoss",
    "NestedLoss",
    "RankingDirectionsLoss",
    "RankingLoss",
    "nested_similarities",
    "ranking_loss",
]
