"""The choice among mixes of several models' weights; one encoder after another has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.processes.together import broadcast_state, from_first
from matryoshka.report.terminal import lines
from matryoshka.tasks.baselines import Before
from matryoshka.tasks.choosing import Limit, best_allowed
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.sources import Sources
from matryoshka.training.blend import set_mixed
from matryoshka.training.mixes import SHARES, Mix, MixOutcome, labels_of, tried


class Mixing:
    """The mixes of these models: each is measured in the recipe's encoder, and it has the weights of the kept one."""

    def __init__(
        self, recipe: TrainingRecipe, data: TrainingData, measuring: Measuring, before: Before, sources: Sources
    ) -> None:
        self.recipe, self.data, self.measuring, self.before, self.sources = recipe, data, measuring, before, sources
        encoder = measuring.encoder
        self.untrained_dense = encoder.dense
        self.mixed_dense = nn.Sequential(*sources.dense).to(encoder.device)
        self.limit = Limit(recipe, data, before)
        self.labels = labels_of(sources.names)

    def keep_best(self) -> tuple[Measuring, MixOutcome]:
        """Give the encoder the mix that is given or found; returns how to measure it, and what all came to."""
        outcome, measuring = self._given() if self.recipe.weights is not None else self._found()
        lines.say("kept", outcome.said)
        return measuring, outcome

    def _given(self) -> tuple[MixOutcome, Measuring]:
        """The given weights; what a further set has against them is only said."""
        mix = Mix.of(self.recipe.weights or [], self.labels)
        mix, measuring = replace(mix, value=self._value(mix)), self.measuring
        remark = self.limit.over(mix, measuring) or ""
        return MixOutcome(measuring.selected, self.sources.names, (mix,), mix, given=True, remark=remark), measuring

    def _found(self) -> tuple[MixOutcome, Measuring]:
        """Of those that are tried, the best that no further set forbids; with a blend it may be the untrained."""
        shares, selected = self.recipe.blend.shares if self.recipe.blend else SHARES, self.measuring.selected
        mixes = tried(self.labels, shares, self._value)
        if self.sources.untrained:
            base = self.before.dev_base or self.before.base
            mixes.append(Mix("untrained", None, base.value(selected)))
        kept, measuring, refused = best_allowed(mixes, self._use, self.limit)
        return MixOutcome(selected, self.sources.names, tuple(mixes), kept, refused), measuring

    def _value(self, mix: Mix) -> float:
        """What a mix is worth on the choosing queries."""
        value = self._use(mix).measure(self.data.selecting, may_be_equal=True).value(self.measuring.selected)
        lines.say("mix", f"{mix.name}: {self.measuring.selected} {value:.4f}")
        return value

    def _use(self, mix: Mix) -> Measuring:
        """Give the encoder these weights, from the first process's disk; returns how to measure them."""
        encoder = self.measuring.encoder
        encoder.dense = self.untrained_dense if mix.untrained else self.mixed_dense
        files = self._files(mix)
        from_first(lambda: set_mixed(encoder, files))
        broadcast_state(encoder)
        return replace(self.measuring, store=OnDisk()) if mix.untrained else self.measuring

    def _files(self, mix: Mix) -> dict[Path, float]:
        if mix.weights is None:
            assert self.sources.untrained
            return {self.sources.untrained: 1.0}
        return {file: weight for file, weight in zip(self.sources.files, mix.weights, strict=True) if weight}
