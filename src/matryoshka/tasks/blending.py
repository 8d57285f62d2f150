"""Which weights a run keeps: the tuned ones, those before training, or weights between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.evaluation.embeddings import InMemory, OnDisk
from matryoshka.processes.together import broadcast_state, from_first
from matryoshka.report.terminal import lines
from matryoshka.tasks.baselines import Before
from matryoshka.tasks.choosing import Limit, best_allowed
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.training.blend import BlendOutcome, Candidate, set_mixed
from matryoshka.training.checkpoints.folder import WEIGHTS, Checkpoint, write_checkpoint
from matryoshka.training.checkpoints.kept import Best, KeptCheckpoints
from matryoshka.training.checkpoints.trained_part import start_of_mixes

START = "start"  # the folder of the weights before training, among the run's checkpoints


def keep_start(recipe: TrainingRecipe, kept: KeptCheckpoints, encoder: Encoder) -> None:
    """Save the weights before the first update, where blends with them are asked for and they are not there yet."""
    if recipe.blend and not (kept.folder / START).is_dir():
        if kept.lasts():  # the encoder has other weights by now
            raise UserError(f"{kept.folder / START}: the weights before training are gone; begin a new run")
        write_checkpoint(kept.folder / START, 0, kept.run, start_of_mixes(encoder))


class Blending:
    """The candidates of a run whose best weights are restored, and the choice among them."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        data: TrainingData,
        measuring: Measuring,
        before: Before,
        best: Best,
        kept: KeptCheckpoints,
    ) -> None:
        assert recipe.blend
        self.shares = recipe.blend.shares
        self.data, self.measuring, self.before, self.best = data, measuring, before, best
        self.limit = Limit(recipe, data, before)
        self.files = from_first(lambda: [_intact(kept.folder / START), kept.best(best.step).folder / WEIGHTS])
        self.stores = {1.0: measuring.store}

    def keep_best(self) -> tuple[Measuring, BlendOutcome]:
        """Give the encoder the weights that the choosing queries like best and no further set forbids.

        Of equal ones the more tuned. Returns how to measure them, with what was encoded so far, and the choice.
        """
        candidates = self._candidates()
        kept, measuring, refused = best_allowed(candidates, self._use, self.limit)
        outcome = BlendOutcome(self.measuring.selected, tuple(candidates), kept, refused)
        lines.say("kept", outcome.said)
        return measuring, outcome

    def _candidates(self) -> list[Candidate]:
        """All of them with what they are worth on the choosing queries, the most tuned first."""
        projected = self.before.projected is not None
        selected, found = self.measuring.selected, [Candidate(1.0, self.best.value, projected)]
        for share in (*self.shares, 0.0):
            candidate = Candidate(share, 0.0, projected)
            result = self._use(candidate).measure(self.data.selecting, may_be_equal=True)
            found.append(replace(candidate, value=result.value(selected)))
        if projected:
            base = self.before.dev_base or self.before.base
            found.append(Candidate(None, base.value(selected)))
        return found

    def _use(self, candidate: Candidate) -> Measuring:
        """Give the encoder these weights, from the first process's disk; returns how to measure them."""
        encoder, share = self.measuring.encoder, candidate.share or 0.0
        files = dict(zip(self.files, (1 - share, share), strict=True))
        from_first(lambda: set_mixed(encoder, {file: part for file, part in files.items() if part}))
        broadcast_state(encoder)
        if candidate.share is None:
            del encoder.dense[-1]
        return self._measuring(candidate)

    def _measuring(self, candidate: Candidate) -> Measuring:
        """Untrained weights are found on the disk, by whatever run has encoded with them."""
        kind: Callable[[], InMemory | OnDisk] = InMemory if candidate.share else OnDisk
        return replace(self.measuring, store=self.stores.setdefault(candidate.share or 0.0, kind()))


def _intact(folder: Path) -> Path:
    """The weights of a checkpoint. Raises BrokenCheckpointError unless they are as they were written."""
    Checkpoint.read(folder).check()
    return folder / WEIGHTS
