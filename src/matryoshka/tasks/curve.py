"""How much data helps: the recipe's projection fitted on shares of the pairs. Encode once; no fine-tuning."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.errors import UserError
from matryoshka.evaluation.learning_curve import LearningCurve, learning_curve
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.processes.together import from_first, is_first
from matryoshka.projection.learned import Learned
from matryoshka.projection.projection import Projection
from matryoshka.report import files
from matryoshka.report.environment.environment import write_environment
from matryoshka.report.figures.metric_figure import save_figure
from matryoshka.report.figures.pairs_figure import metric_against_pairs
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.curve import show_curve, show_next
from matryoshka.storage.atomic import write_json
from matryoshka.storage.credentials import masked
from matryoshka.tasks.beginning import begun, decided
from matryoshka.tasks.frozen import Frozen
from matryoshka.tasks.project import read
from matryoshka.tasks.projecting import fit, title

OWN_WORDS = ("task", "shares", "sweep", "logger", "export", "resume", "hydra.run.dir", "data.pairs_at_most")


def curve(recipe: TrainingRecipe, folder: Path) -> float:
    """Measure the projection fitted on each share of the pairs, say what that asks for, write it all.

    Nothing is chosen. Returns the mean over dims of the selecting metric with the largest share.
    """
    with begun(recipe, folder) as (_, folder):
        recipe, why = decided(recipe, recipe.config)
        recipe, data, frozen, _ = read(recipe, why, partial(pairs_of, recipe.shares))
        test = frozen.sets["test"]()  # by all processes together; no other set is asked for
        measured = from_first(partial(measure, recipe, frozen, test))
        if is_first():
            found, base, projection = measured
            show_curve(found, base)
            lines.show_paths(write(folder, recipe, found, base, projection))
            show_next(training_command() if data else "")
        return measured[0].points[-1].mean


def pairs_of(shares: Sequence[float], pairs: int) -> dict[float, int]:
    """How many pairs each share has, fewest first. Raises UserError where these are too few or the same."""
    numbers = {share: round(share * pairs) for share in sorted(shares)}
    if min(numbers.values()) < 2 or len(set(numbers.values())) < len(numbers):
        found = ", ".join(f"{share:g} -> {number}" for share, number in numbers.items())
        raise UserError(f"shares: of {pairs:,} pairs these are {found}; each must be at least 2 and another number")
    return numbers


def nested_rows(pairs: int, number: int, seed: int) -> torch.Tensor:
    """So many of the pairs, (M,), in their order: always the same ones of a seed, and fewer are among more."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(pairs, generator=generator)[:number].sort().values


def measure(
    recipe: TrainingRecipe, frozen: Frozen, test: SetVectors
) -> tuple[LearningCurve, EvaluationResult, Projection]:
    """The curve, the encoder as it is, and the projection that was fitted."""
    projection, metric, values = recipe.projection, recipe.evaluator.metric, []
    if projection is None:
        projection = Learned()
        lines.say("curve", "projection=learned is fitted, since the recipe has none")
    lines.say("curve", "nothing is chosen, so dev queries are not looked at: all rows are measured on the test queries")
    shares = pairs_of(recipe.shares, len(frozen.pairs))
    base = frozen.measured(test, recipe)
    assert base.rankings is not None
    for number in shares.values():
        rows_M = nested_rows(len(frozen.pairs), number, recipe.seed)
        saved = fit(projection, recipe, frozen.pairs.chosen(rows_M), frozen.name)
        rankings = frozen.measured(test, recipe, saved).rankings
        assert rankings is not None
        values.append(np.stack([rankings.as_is[dim].values[metric].numpy() for dim in base.dims], axis=1))
    found = learning_curve(metric, shares, base.dims, np.stack(values), base.rankings.clusters_Q.numpy())
    return found, replace(base, rankings=None), projection


def write(
    folder: Path, recipe: TrainingRecipe, found: LearningCurve, base: EvaluationResult, projection: Projection
) -> Mapping[str, Path]:
    """curve.json and the figure, each whole or not there, beside the configuration; their paths, by what they are."""
    fitted = f"{title(projection)}, on frozen embeddings of {base.model}"
    facts = {"stand_in": list(recipe.stand_in), "fitted": fitted, "base": base.as_dict(), "seed": recipe.seed}
    files.write_config(folder, recipe.config)
    write_environment(folder)
    figure = save_figure(metric_against_pairs(found, base, fitted, "; ".join(recipe.stand_in)), folder / "curve")
    written = write_json(folder / "curve.json", found.as_dict() | facts)
    return {"curve": written, "figure": figure[0], "configuration": folder / "config.yaml"}


def training_command() -> str:
    """This command as the sweep that trains on several numbers of pairs."""
    words = [word for word in sys.argv[1:] if word.lstrip("+~").partition("=")[0] not in OWN_WORDS]
    program = [*(["python"] if sys.argv[0].endswith(".py") else []), *shlex.split(sys.argv[0])]
    return masked(shlex.join([*program, "-m", *words, "+sweep=pairs"]))
