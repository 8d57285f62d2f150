"""What came of fitting projections, as the record that every surface shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.evaluation.deployment.deployment import Deployment
from matryoshka.evaluation.failures import find_failures
from matryoshka.evaluation.gains import gains_by_set
from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.report.encoder_summary import EncoderSummary
from matryoshka.report.environment.environment import environment
from matryoshka.report.record import TEST, PairsSummary, TrainingRecord
from matryoshka.tasks.frozen import Frozen, behind, deployment
from matryoshka.tasks.kinds import FittedKind
from matryoshka.tasks.loading import TrainingData


def projected_record(
    recipe: TrainingRecipe,
    data: TrainingData | None,
    frozen: Frozen,
    kinds: Sequence[FittedKind],
    base: EvaluationResult,
    baselines: Sequence[EvaluationResult],
    seconds: float,
) -> TrainingRecord:
    """The kept kind as what came of it, the others beside it. No update was made; the log's steps are the fit's."""
    kept, *others = kinds
    assert kept.test.rankings is not None
    metric, sets = recipe.evaluator.metric, {}
    for name, vectors in frozen.further.items():
        before, after = (frozen.measured(vectors, recipe, saved) for saved in (None, kept.saved))
        sets[name] = SetResults(before, after)
    compared = {TEST: (base, kept.test), **{name: (of.base or of.tuned, of.tuned) for name, of in sets.items()}}
    return TrainingRecord(
        name=recipe.name,
        base_model=frozen.name,
        stand_in=recipe.stand_in,
        encoder=EncoderSummary.of(data.encoder, getattr(recipe.export, "dim", None))
        if data
        else EncoderSummary.unknown(frozen.pairs.width),
        pairs=data.pairs if data else PairsSummary(recipe.data.name, len(frozen.pairs), ("anchor", "positive"), {}, ()),
        batches=data.batch_summary if data else None,
        base=base,
        tuned=kept.test,
        selected=f"{metric}/mean",
        selected_value=kept.value,
        saved_step=int(kept.history[-1]["step"]) if kept.history else 0,
        config=recipe.config,
        environment=environment(),
        history=kept.history,
        seconds=seconds,
        split=which_queries(frozen, len(kinds)),
        dev_base=frozen.measured(frozen.dev, recipe) if frozen.dev else None,
        baselines=(*(replace(kind.test, model=kind.title, rankings=None) for kind in others), *baselines),
        deployment=what_to_deploy(recipe, frozen, kept),
        failures=find_failures(kept.test.rankings, recipe.dims),
        sets=sets,
        gains=gains_by_set(metric, compared),
    )


def which_queries(frozen: Frozen, kinds: int) -> str:
    """A sentence on what chose the projection, and on which queries it is reported."""
    if kinds == 1:
        queries = len(frozen.test.queries_QD)
        return f"only one projection was fitted, so none was chosen; reported on {queries:,} test queries"
    return frozen.label.replace("checkpoint selected", "projection chosen")


def what_to_deploy(recipe: TrainingRecipe, frozen: Frozen, kept: FittedKind) -> Deployment | None:
    """What shorter or rounded vectors cost behind the kept projection, chosen on the dev queries if there are some."""
    calibration_MD, metric = torch.from_numpy(kept.saved.calibration_ME), recipe.evaluator.metric
    measured = deployment(behind(frozen.test, kept.saved), calibration_MD, recipe.dims, metric)
    if measured is None or frozen.dev is None:
        return measured
    chosen = deployment(behind(frozen.dev, kept.saved), calibration_MD, recipe.dims, metric)
    return measured.chosen_by(chosen) if chosen else measured
