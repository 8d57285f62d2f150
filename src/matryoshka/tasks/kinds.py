"""Several kinds of projection fitted on the same embeddings, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.projection.closed_form import PCA, Rotation
from matryoshka.projection.learned import Learned, Orthogonal
from matryoshka.projection.projection import Projection
from matryoshka.projection.saved import SavedProjection
from matryoshka.report.terminal import lines
from matryoshka.tasks.frozen import Frozen
from matryoshka.tasks.projecting import fit, title

KINDS: dict[str, type[Projection]] = {"pca": PCA, "rotation": Rotation, "orthogonal": Orthogonal, "learned": Learned}
LOGGED = 10  # steps of a fit from one row of the log to the next


@dataclass(frozen=True)
class Fit:
    """A projection that is fitted. history: rows of the log, some steps of the fit with their loss."""

    title: str
    saved: SavedProjection
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class FittedKind(Fit):
    """One that is measured too. value: its mean over dims of the selecting metric on the choosing queries."""

    test: EvaluationResult
    value: float


def fit_kinds(recipe: TrainingRecipe, frozen: Frozen) -> list[Fit]:
    """The recipe's own projection, and with their defaults those of the other kinds that it names."""
    own = [recipe.projection] if recipe.projection else []
    wanted = [*own, *(KINDS[name]() for name in recipe.projections if name not in {kind.kind for kind in own})]
    return [_fit(projection, recipe, frozen) for projection in wanted]


def measured_kinds(recipe: TrainingRecipe, frozen: Frozen, fits: Sequence[Fit]) -> list[FittedKind]:
    """The fits with what they are worth, the best on the choosing queries first; of equal ones the first fitted."""
    kinds = []
    for of in fits:
        test = frozen.measured(frozen.test, recipe, of.saved)
        chosen_by = frozen.measured(frozen.dev, recipe, of.saved) if frozen.dev else test
        value = chosen_by.value(f"{recipe.evaluator.metric}/mean")
        kinds.append(FittedKind(of.title, of.saved, of.history, test, value))
    kinds.sort(key=lambda kind: -kind.value)
    if len(kinds) > 1:
        on = "dev queries" if frozen.dev else "test queries: split=dev holds some out"
        values = ", ".join(f"{kind.title} {kind.value:.3f}" for kind in kinds)
        lines.say("chosen", f"by mean {recipe.evaluator.metric} over all dims on the {on}: {values}")
    return kinds


def without_rankings(kinds: list[FittedKind]) -> list[FittedKind]:
    """The same without what every query found: what other processes are told."""
    return [replace(kind, test=replace(kind.test, rankings=None)) for kind in kinds]


def _fit(projection: Projection, recipe: TrainingRecipe, frozen: Frozen) -> Fit:
    rows: list[dict[str, float]] = []

    def log(step: int, loss: float) -> None:
        if step % LOGGED == 0:
            rows.append({"step": step, "train/loss": loss, "epoch": 0.0})

    saved = fit(projection, recipe, frozen.pairs, frozen.name, log)
    return Fit(title(projection), saved, tuple(rows))
