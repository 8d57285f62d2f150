"""Several kinds of projection fitted on the same embeddings, best first."""

from __future__ import annotations

from dataclasses import dataclass

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
class FittedKind:
    """A projection, fitted. chosen_by: what it is worth on the choosing queries; value: its mean over dims there.

    history: rows of the log, a step of the fit each, with its loss.
    """

    title: str
    saved: SavedProjection
    chosen_by: EvaluationResult
    test: EvaluationResult
    value: float
    history: tuple[dict[str, float], ...]


def fit_kinds(recipe: TrainingRecipe, frozen: Frozen) -> list[FittedKind]:
    """The recipe's projection and those of `projections`, the best on the choosing queries first.

    That is the one of the largest mean over dims of the selecting metric; of equal ones the first fitted.
    """
    fitted = [_fitted(projection, recipe, frozen) for projection in wanted(recipe)]
    fitted.sort(key=lambda kind: -kind.value)
    if len(fitted) > 1:
        on = "dev queries" if frozen.dev else "test queries: split=dev holds some out"
        values = ", ".join(f"{kind.title} {kind.value:.3f}" for kind in fitted)
        lines.say("chosen", f"by mean {recipe.evaluator.metric} over all dims on the {on}: {values}")
    return fitted


def wanted(recipe: TrainingRecipe) -> list[Projection]:
    """The recipe's own projection, and with their defaults those of the other kinds that it names."""
    own = [recipe.projection] if recipe.projection else []
    return [*own, *(KINDS[name]() for name in recipe.projections if name not in {kind.kind for kind in own})]


def _fitted(projection: Projection, recipe: TrainingRecipe, frozen: Frozen) -> FittedKind:
    rows: list[dict[str, float]] = []

    def log(step: int, loss: float) -> None:
        if step % LOGGED == 0:
            rows.append({"step": step, "train/loss": loss})

    saved = fit(projection, recipe, frozen.pairs, frozen.name, log)
    test = frozen.measured(frozen.test, recipe, saved)
    chosen_by = frozen.measured(frozen.dev, recipe, saved) if frozen.dev else test
    value = chosen_by.value(f"{recipe.evaluator.metric}/mean")
    return FittedKind(title(projection), saved, chosen_by, test, value, tuple(rows))
