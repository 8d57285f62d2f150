"""Two runs side by side: in the terminal, as JSON, and as a part of an HTML page."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from matryoshka.evaluation.comparison import ChangedQuery, Comparison, DimComparison
from matryoshka.report.markdown import shortened
from matryoshka.report.terminal.lines import console, plain_table
from matryoshka.storage.atomic import write_json

PROTOCOLS = {"as_is": "every id a document", "merged": "copies as one document"}
SHOWN = 100  # characters of a text in the terminal
STYLES = {"better": "bold green", "worse": "bold red"}


def show_comparison(comparison: Comparison) -> None:
    """A table row a dim, then the queries that changed most at the widest dim."""
    console.print(Text(comparison.title, style="bold"), soft_wrap=True)
    console.print(_subject(comparison), soft_wrap=True, markup=False)
    table = plain_table(collapse_padding=True)
    for name in ("dim", "first", "second", "difference (95% interval)", "p (Holm)", "wins / losses / ties"):
        table.add_column(name, justify="right")
    table.add_column("the second is")
    for dim in comparison.dims:
        table.add_row(*_cells(dim), style=STYLES.get(dim.verdict, ""))
    console.print(table)
    widest = comparison.dims[0]
    if widest.changed:
        console.print(Text(f"queries that changed most at dim {widest.dim}", style="bold"))
    for query in widest.changed:
        _show_query(query)


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """comparison.json: the Comparison, with all the queries that changed most, at every dim."""
    return write_json(folder / "comparison.json", comparison.as_dict())


def _subject(comparison: Comparison) -> str:
    return (
        f"{comparison.metric}, {PROTOCOLS[comparison.protocol]}, on {comparison.data}: "
        f"{comparison.queries:,} queries in {comparison.clusters:,} clusters"
    )


def _cells(dim: DimComparison) -> tuple[str, ...]:
    interval = "(one cluster)" if dim.interval is None else f"({dim.interval[0]:+.4f} to {dim.interval[1]:+.4f})"
    return (
        str(dim.dim),
        f"{dim.first:.4f}",
        f"{dim.second:.4f}",
        f"{dim.difference:+.4f} {interval}",
        f"{dim.adjusted_p:.4f}",
        f"{dim.wins} / {dim.losses} / {dim.ties}",
        dim.verdict,
    )


def _show_query(query: ChangedQuery) -> None:
    """What was asked, what answers it, and what stood at the top in its place."""
    style = "green" if query.second_value > query.first_value else "red"
    values = f"{query.first_value:.3f} -> {query.second_value:.3f}"
    ranks = f"rank {query.first_rank or 'none'} -> {query.second_rank or 'none'}"
    lines = {f"{values}, {ranks}": query.text, "right answer": query.answer}
    if query.first_rank != 1:
        lines["first's top hit"] = query.first_top
    if query.second_rank != 1:
        lines["second's top hit"] = query.second_top
    console.print()
    for i, (label, text) in enumerate(lines.items()):
        console.print(Text.assemble((f"{label:>32}  ", "dim" if i else style), shortened(text, SHOWN)), soft_wrap=True)
