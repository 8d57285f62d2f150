"""The recipe's adapter: put into the encoder when everything before training is measured, merged after it."""

from __future__ import annotations

from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.low_rank import adapted_layers, merge_adapter
from matryoshka.export.adapter import write_adapter
from matryoshka.processes.together import from_first
from matryoshka.report.terminal import lines


def put_adapter(recipe: TrainingRecipe, encoder: Encoder) -> None:
    """Put it there, and say what is trained; nothing without one."""
    if recipe.adapter is None:
        return
    recipe.adapter.put_into(encoder, recipe.seed)
    layers = len(list(adapted_layers(encoder.backbone)))
    trained = sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    kind = type(recipe.adapter).__name__
    lines.say("adapter", f"{kind} beside {layers} linear layers: {trained:,} weights are trained, the model's own stay")


def finish_adapter(encoder: Encoder, folder: Path) -> None:
    """Keep it in the run's folder and add it to the weights: what is measured then is what is saved."""
    if any(adapted_layers(encoder.backbone)):
        from_first(lambda: write_adapter(encoder, folder / "adapter"))
        merge_adapter(encoder.backbone)
