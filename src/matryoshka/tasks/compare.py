"""Compare two runs by what they wrote: nothing is loaded or encoded."""

from __future__ import annotations

from pathlib import Path

from matryoshka.config.recipe import ComparisonRecipe
from matryoshka.errors import UserError
from matryoshka.evaluation import comparison
from matryoshka.report.terminal.comparison import show_comparison, write_comparison
from matryoshka.report.terminal.lines import show_paths


def compare(recipe: ComparisonRecipe, folder: Path) -> float:
    """Print and write how the second run differs from the first; returns the difference at the widest dim."""
    runs = [Path(run).expanduser() for run in recipe.compare or ()]
    if len(runs) != 2:
        raise UserError(f"compare: {len(runs)} runs are given; name two, compare=[outputs/...,outputs/...]")
    first, second = runs
    compared = comparison.compare(first, second, metric=recipe.metric, protocol=recipe.protocol)
    show_comparison(compared)
    show_paths({"comparison": write_comparison(folder, compared)})
    return compared.dims[0].difference
