"""How a run computes its updates, decided once: what is encoded at a time, and whether layers are compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.durations import in_words
from matryoshka.memory.limits import KEEPS, MemoryLimits
from matryoshka.report.terminal import lines
from matryoshka.training.flops import GPUS, USUAL_SHARE, measured_rate, of_run
from matryoshka.training.plan import TrainingPlan

TOKENS = {"cuda": 16_384}  # that keep a GPU busy; on a CPU a pass of one micro-batch is as fast
COMPILING = 30  # seconds that the first update waits for it, by reckoning
WORTH = 10 * COMPILING  # seconds of training from which on layers are compiled


@dataclass(frozen=True)
class StepChoice:
    """tokens_at_once: micro-batches of an update are encoded together up to so many. why: a sentence, or none."""

    tokens_at_once: int
    compiled_layers: bool
    why: str = ""

    @classmethod
    def of(
        cls, recipe: TrainingRecipe, limits: MemoryLimits, plan: TrainingPlan, before: Mapping[str, Any] | None
    ) -> StepChoice:
        """What is asked for; where that is `auto`, what the run began with, else what fits this device and run."""
        tokens, compiled = (
            before.get(key, "auto") if before and recipe.config[key] == "auto" else recipe.config[key]
            for key in ("tokens_at_once", "compiled_layers")
        )
        why = []
        if tokens == "auto":
            tokens = _fitting(limits, recipe)
        if tokens:
            why.append(f"micro-batches of an update are encoded together up to {tokens:,} tokens")
        if compiled == "auto":
            seconds = _seconds(limits, plan) if limits.device.type == "cuda" else 0.0
            compiled = seconds > WORTH
            if compiled:
                about = f"about {COMPILING} s at the first update, for a training of {in_words(seconds)}"
                why.append(f"layers are compiled, {about}")
        return cls(int(tokens), bool(compiled), "; ".join(why))

    def chosen(self, recipe: TrainingRecipe) -> TrainingRecipe:
        """The recipe with it; its parts stay as they are."""
        values: dict[str, Any] = {"tokens_at_once": self.tokens_at_once, "compiled_layers": self.compiled_layers}
        return replace(recipe, **values, config={**recipe.config, **values})

    def limits(self, limits: MemoryLimits) -> MemoryLimits:
        """What the run needs with it."""
        return replace(limits, settings=replace(limits.settings, tokens_at_once=self.tokens_at_once))

    def show(self) -> None:
        """A line, where there is something to say."""
        if self.why:
            lines.say("step", self.why)


def _fitting(limits: MemoryLimits, recipe: TrainingRecipe) -> int:
    """The most tokens, of what keeps the device busy and halves of it, with which the run fits; 0: each alone."""
    if recipe.accumulation == 1 or recipe.pairs_at_once is not None or limits.memory is None:
        return 0
    tokens = TOKENS.get(limits.device.type, 0)
    while tokens > 1_000 and limits.available is not None:
        if limits.memory.estimate(replace(limits.settings, tokens_at_once=tokens)).peak <= KEEPS * limits.available:
            return tokens
        tokens //= 2
    return 0


def _seconds(limits: MemoryLimits, plan: TrainingPlan) -> float:
    """About how long the training will take on its GPU."""
    assert limits.memory is not None
    operations = of_run(limits.memory.encoder, limits.memory.batches, plan.updates * plan.accumulation)
    rate = measured_rate(limits.device) if torch.cuda.is_available() else GPUS["A100"] * 1e12  # where one only plans
    return operations / (rate * USUAL_SHARE * limits.memory.processes)
