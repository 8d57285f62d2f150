"""Why a run got worse: what its training changed, measured on embeddings, and what to try."""

from __future__ import annotations

import copy
from pathlib import Path

import pytorch_lightning as pl
from torch import Tensor

from matryoshka.config.recipe import TrainingRecipe, rebuilt
from matryoshka.encoder.progress import progress_bar
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.evaluation.several_sets import SeveralSets
from matryoshka.report.page.explanation import write_explanation
from matryoshka.report.record import TEST
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.explanation import show_explanation
from matryoshka.tasks.finished_run import FinishedRun
from matryoshka.tasks.guiding import prepare_guide
from matryoshka.tasks.loading import TrainingData, load
from matryoshka.tasks.make_loss import make_loss
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.quiet_libraries import quiet_libraries
from matryoshka.tasks.sampled_batches import SampledBatches
from matryoshka.training.device import device_of, prepare
from matryoshka.training.explanation.drift import TextVectors
from matryoshka.training.explanation.explanation import Explanation, Snapshot
from matryoshka.training.explanation.findings import levers_in_use
from matryoshka.training.explanation.margins import set_margins

PAIRS = "training pairs"


def explain(recipe: TrainingRecipe, folder: Path) -> float:
    """Measure the run that the recipe names, print and write it; returns how many findings ask to try something.

    Of the recipe only the run's folder and the device count: all else is as the run's own configuration says.
    """
    quiet_libraries()
    prepare(device := device_of(recipe.accelerator, recipe.devices))
    run = FinishedRun.read(str(recipe.run))
    pl.seed_everything(int(run.config.get("seed", recipe.seed)), verbose=False)  # by which a pooling may draw weights
    recipe = run.recipe(recipe)
    lines.say("run", f"{recipe.name} in {run.folder}")
    lines.show_stand_in(recipe.stand_in)
    data, tuned = load(recipe), run.tuned(recipe).to(device)
    base = Measuring.of(recipe, data.encoder.to(device), recipe.dims, recipe.precision, device)
    prepare_guide(recipe, data, base)  # before a projection: what it says, the run's own has said of the same texts
    sampled = SampledBatches.of(data)
    run.put_projection(data.encoder)
    before, pairs_before = _looked_at(data, sampled, base, "before training")
    after, pairs_after = _looked_at(data, sampled, base.of_encoder(tuned), "after training")
    recipe = _fitting(recipe, tuned.width)
    measured = sampled.measured(copy.deepcopy(make_loss(recipe)).eval(), pairs_before, pairs_after)
    explanation = Explanation.of(before, after, data.sets, measured, levers_in_use(run.config))
    show_explanation(explanation)
    title = f"What training changed: {recipe.name}, {data.encoder.name} trained on {data.pairs.name}"
    lines.show_paths(write_explanation(folder, explanation, title, recipe.stand_in))
    return float(len(explanation.to_do))


def _looked_at(
    data: TrainingData, sampled: SampledBatches, measuring: Measuring, when: str
) -> tuple[Snapshot, list[Tensor]]:
    """What is kept of all sets, and the embeddings of the sampled pairs; what was encoded earlier is found again."""
    snapshot = Snapshot()
    tokens = sum(texts.tokens for texts in data.held_out.values()) + sum(len(ids.flat) for ids in sampled.parts)
    with progress_bar(f"embeddings {when}", tokens) as advance:
        for name, texts in data.held_out.items():
            parts, mapped = [texts.documents, texts.queries], measuring.too_large(len(texts.documents))
            documents_UD, queries_UD = measuring.embedded(parts, OnDisk(), advance, mapped=mapped)
            snapshot.texts[name] = TextVectors.drawn(queries_UD, documents_UD)
            if name == TEST and not isinstance(texts, SeveralSets):  # whose queries have no corpus in common
                snapshot.margins.update(set_margins(SetVectors.of(texts, queries_UD, documents_UD), measuring.dims))
        pairs = measuring.embedded(sampled.parts, OnDisk(), advance)
    if sampled.batches:
        snapshot.texts[PAIRS] = TextVectors.drawn(pairs[0], pairs[1])
    return snapshot, pairs


def _fitting(recipe: TrainingRecipe, width: int) -> TrainingRecipe:
    """The recipe at those of its dims that a saved model has: it may have been cut."""
    weights = recipe.dim_weights or [1.0] * len(recipe.dims)
    kept = {dim: weight for dim, weight in zip(recipe.dims, weights, strict=True) if dim <= width}
    kept = kept or {width: 1.0}
    if list(kept) == recipe.dims:
        return recipe
    return rebuilt(recipe, {"dims": list(kept), "dim_weights": list(kept.values()), "dims_per_step": None})
