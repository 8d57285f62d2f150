"""The recipe's adapter: put into the encoder when everything before training is measured."""

from __future__ import annotations

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.low_rank import adapted_layers
from matryoshka.report.terminal import lines


def put_adapter(recipe: TrainingRecipe, encoder: Encoder) -> None:
    """Put it there, and say what is trained; nothing without one."""
    if recipe.adapter is None:
        return
    recipe.adapter.put_into(encoder, recipe.seed)
    layers = len(list(adapted_layers(encoder.backbone)))
    sizes = [(weight.numel(), weight.requires_grad) for weight in encoder.parameters()]
    trained, there = sum(size for size, grows in sizes if grows), sum(size for size, _ in sizes)
    kind = type(recipe.adapter).__name__
    lines.say("adapter", f"{kind} beside {layers} linear layers: {trained:,} of {there:,} weights are trained")
