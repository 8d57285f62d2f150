"""What came of a training: the best weights, what they are worth, and everything that a run leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.encoder import Encoder
from matryoshka.evaluation.deployment.deployment import Deployment
from matryoshka.evaluation.failures import find_failures
from matryoshka.evaluation.gains import gains_by_set
from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.processes.together import broadcast_state, from_first
from matryoshka.report import files
from matryoshka.report.encoder_summary import EncoderSummary
from matryoshka.report.environment.environment import environment
from matryoshka.report.record import TEST, TrainingRecord
from matryoshka.report.terminal.summary import show_training
from matryoshka.tasks.baselines import Before
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.pushing import push_model
from matryoshka.tasks.trainer import finish
from matryoshka.training.callbacks.checkpoint import Checkpoints
from matryoshka.training.checkpoints.kept import Best, KeptCheckpoints


def restore_best(checkpoint: Checkpoints, encoder: Encoder) -> Best:
    """Load the best weights: from the first process's disk, which need not be the others'."""
    best = checkpoint.best
    assert best is not None
    from_first(lambda: checkpoint.kept.best(best.step).load_weights(encoder))
    broadcast_state(encoder)
    return best


def training_record(
    recipe: TrainingRecipe,
    data: TrainingData,
    measuring: Measuring,
    before: Before,
    best: Best,
    tuned: EvaluationResult,
    sets: Mapping[str, EvaluationResult],
) -> TrainingRecord:
    """What came of it: the restored weights measured on the test queries, beside what was measured before."""
    measured = {name: (before.base.parts[name], result) for name, result in tuned.parts.items()}
    measured |= {name: (before.sets[name], result) for name, result in sets.items()}
    return TrainingRecord(
        name=recipe.name,
        base_model=data.encoder.name,
        stand_in=recipe.stand_in,
        encoder=EncoderSummary.of(data.encoder, getattr(recipe.export, "dim", None)),
        pairs=data.pairs,
        batches=data.batch_summary,
        base=before.base,
        tuned=tuned,
        selected=measuring.selected,
        selected_value=best.value,
        saved_step=best.step,
        config=recipe.config,
        environment=environment(),
        split=data.split.label,
        dev_base=before.dev_base,
        baselines=before.baselines,
        failures=find_failures(tuned.rankings, recipe.dims) if tuned.rankings else None,
        projected=before.projected,
        gains=gains_by_set(
            recipe.evaluator.metric,
            {TEST: (before.base, tuned), **measured},
        ),
        sets={name: SetResults(*both) for name, both in measured.items()},
    )


def what_to_deploy(data: TrainingData, measuring: Measuring) -> Deployment | None:
    """What to deploy, chosen on the dev queries where there are some, measured on the test queries; None: not told."""
    measured = measuring.deployment(data.test, data.passages)
    chosen = measuring.deployment(data.dev, data.passages) if data.dev and measured else None
    return measured.chosen_by(chosen) if measured and chosen else measured


def write(folder: Path, recipe: TrainingRecipe, record: TrainingRecord, encoder: Encoder, trainer: pl.Trainer) -> None:
    """Every file of the run, the trackers' last words, and the table at its end; then the hub."""
    written = files.write_training(folder, record, encoder, recipe.export)
    finish(trainer.loggers, record, folder)
    KeptCheckpoints(folder).remove()  # at last: until then an end that was cut off can be done again
    show_training(record, written)
    push_model(recipe, folder)
