"""Projections beside each other in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from matryoshka.evaluation.result import NO_DIM, EvaluationResult, display_name
from matryoshka.report.terminal.lines import console, plain_table


def show_kinds(
    base: EvaluationResult,
    kinds: Sequence[tuple[str, EvaluationResult]],
    baselines: Sequence[EvaluationResult],
    metric: str,
) -> None:
    """One row a model, one column a dim: the base, each kind with the kept one first, the baselines."""
    table = plain_table(f"{display_name(metric)} at each dim, on the test queries", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for dim in base.dims:
        table.add_column(str(dim), justify="right", no_wrap=True)
    rows = [("untrained, cut", base), *kinds, *((other.model, other) for other in baselines)]
    for name, result in rows:
        values = [result.metrics.get(dim, result.metrics.get(NO_DIM)) for dim in base.dims]
        cells = [f"{value[metric]:.3f}" if value else "" for value in values]
        table.add_row(name, *cells, style="bold green" if kinds and name == kinds[0][0] else "")
    console.print(table)
