"""What training changed, from embeddings that a run has at hand: nothing is encoded for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.evaluation.embeddings import OnDisk, Store
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.processes.together import is_first
from matryoshka.report.record import TEST
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.training.explanation.drift import TextVectors
from matryoshka.training.explanation.explanation import Explanation, Snapshot
from matryoshka.training.explanation.findings import levers_in_use
from matryoshka.training.explanation.margins import set_margins


@dataclass(frozen=True)
class StartOfTraining:
    """What is kept of the embeddings before training. layers: dense ones behind the pooling, a projection among them.

    Of several processes the first alone has something.
    """

    layers: int
    snapshot: Snapshot

    @classmethod
    def of(cls, data: TrainingData, measuring: Measuring) -> StartOfTraining:
        """Of the encoder as it is when it has been measured, its projection included."""
        return cls(len(measuring.encoder.dense), _snapshot(_reported(data), measuring, OnDisk()))

    def explained(self, recipe: TrainingRecipe, data: TrainingData, measuring: Measuring) -> Explanation | None:
        """What changed since then; None where nothing is at hand, or where the projection was given up."""
        if not self.snapshot.texts or len(measuring.encoder.dense) != self.layers:
            return None
        after = _snapshot(_reported(data), measuring, measuring.store)
        explanation = Explanation.of(self.snapshot, after, data.sets, in_use=levers_in_use(recipe.config))
        return explanation if explanation.drift else None


def _reported(data: TrainingData) -> dict[str, TokenizedSet]:
    return {TEST: data.test, **data.sets}


def _snapshot(sets: Mapping[str, TokenizedSet], measuring: Measuring, store: Store) -> Snapshot:
    snapshot = Snapshot()
    for name, texts in sets.items() if is_first() else ():
        if found := measuring.kept(texts, store):
            documents_UD, queries_UD = found
            snapshot.texts[name] = TextVectors.drawn(queries_UD, documents_UD)
            if name == TEST:
                snapshot.margins.update(set_margins(SetVectors.of(texts, queries_UD, documents_UD), measuring.dims))
    return snapshot
