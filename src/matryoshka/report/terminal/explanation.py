"""What a training changed, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from matryoshka.report.terminal.lines import console, plain_table, say
from matryoshka.training.explanation.explanation import Explanation


def show_explanation(explanation: Explanation) -> None:
    """Drift, margins and gradients as small tables; then a line for each finding."""
    drift = plain_table("mean cosine of the same text before and after training", padding=(0, 1, 0, 0))
    for heading in ("", "queries", "documents"):
        drift.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, of in explanation.drift.items():
        drift.add_row(name, f"{of.queries:.3f}", f"{of.documents:.3f}")
    console.print(drift)
    if explanation.after:
        _show_margins(explanation)
    if explanation.batches and explanation.batches.lowest:
        _show_gradients(explanation.batches.cosines)
    for finding in explanation.findings:
        say(finding.measure, str(finding))


def _show_margins(explanation: Explanation) -> None:
    table = plain_table("margins of the test queries, before -> after", padding=(0, 1, 0, 0))
    for heading in ("dim", "mean", "negative"):
        table.add_column(heading, justify="right", no_wrap=True)
    for dim, after in explanation.after.items():
        before = explanation.before[dim]
        shares = f"{before.negative:.1%} -> {after.negative:.1%}"
        table.add_row(str(dim), f"{before.mean:.3f} -> {after.mean:.3f}", shares)
    console.print(table)


def _show_gradients(cosines: Mapping[int, Mapping[int, float]]) -> None:
    table = plain_table("cosine of the gradients of two dims, before training", padding=(0, 1, 0, 0))
    for heading in ("dim", *map(str, cosines)):
        table.add_column(heading, justify="right", no_wrap=True)
    for dim, of in cosines.items():
        table.add_row(str(dim), *(f"{cosine:.2f}" for cosine in of.values()))
    console.print(table)
