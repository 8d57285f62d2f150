"""The nested loss that a recipe asks for."""

from __future__ import annotations

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.losses.matryoshka import MatryoshkaLoss


def make_loss(recipe: TrainingRecipe) -> MatryoshkaLoss:
    """The recipe's loss over the recipe's dims."""
    drawn = recipe.dims_per_step, recipe.seed, recipe.cuts
    return MatryoshkaLoss(recipe.loss, recipe.dims, recipe.dim_weights, *drawn)
