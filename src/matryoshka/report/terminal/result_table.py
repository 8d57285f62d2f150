"""An evaluation as tables in the terminal: before and after, with intervals and baselines; and as is beside merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from matryoshka.evaluation.result import NO_DIM, EvaluationResult, SetResults
from matryoshka.report.terminal.lines import console, plain_table

ESSENTIAL = ("ndcg@10", "mrr@10", "map@100", "accuracy@1", "recall@10")
ARTEFACT = ("accuracy@1", "mrr@10", "ndcg@10", "accuracy@10")  # metrics that show best what copies do
LABELS = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "accuracy": "acc", "precision": "prec", "recall": "rec"}


def essential(result: EvaluationResult, wanted: Sequence[str] = ESSENTIAL) -> list[str]:
    """Those of the wanted metrics that were measured, else the first five."""
    measured = list(result.metrics[result.dims[0]])
    return [name for name in wanted if name in measured] or measured[:5]


def show_result(
    result: EvaluationResult,
    base: EvaluationResult | None,
    title: str,
    baselines: Sequence[EvaluationResult] = (),
) -> None:
    """One row a dim, the essential metrics as is; with a base, its values before; the baselines' rows below.

    A baseline's name is a line of its own above its dims. The first metric has half its 95% interval beside it.
    """
    names = essential(result)
    own, others = _rows(result, base, names), [_rows(other, None, names) for other in baselines]
    headers = [Text("dim"), *(Text(_label(name)) for name in names)]
    columns = zip(headers, *own, *(row for rows in others for row in rows), strict=True)
    widths = [max(cell.cell_len for cell in column) for column in columns]  # the same in all parts
    console.print(_part(plain_table(title, padding=(0, 1, 0, 0)), headers, own, widths))  # fits 80 characters
    for other, rows in zip(baselines, others, strict=True):
        if NO_DIM not in other.metrics:
            console.print(Text(f" {other.model}", style="bold"), soft_wrap=True)
        headless = plain_table(padding=(0, 1, 0, 0), show_header=False, show_edge=False)
        console.print(Padding(_part(headless, headers, rows, widths), (0, 0, 1, 1), expand=False))
    if result.intervals:
        groups = f"{result.clusters:,} groups of queries that share an answer"
        independent = f"{result.queries:,} queries" if result.clusters == result.queries else groups
        console.print(Text(f"±: half of the 95% interval, by bootstrap over {independent}", style="dim"))


def _rows(result: EvaluationResult, base: EvaluationResult | None, names: Sequence[str]) -> list[list[Text]]:
    """A row a dim: the dim, or the name of what has none, and each metric."""
    rows = []
    for dim in result.dims:
        before = base.metrics[dim] if base else {}
        first, *more = [_cell(before.get(name), result.metrics[dim][name]) for name in names]
        label = Text(result.model if dim == NO_DIM else str(dim))
        rows.append([label, _with_interval(first, result, dim, names[0]), *more])
    return rows


def _part(table: Table, headers: Sequence[Text], rows: Sequence[Sequence[Text]], widths: Sequence[int]) -> Table:
    """The table with these columns and rows."""
    for header, width in zip(headers, widths, strict=True):
        style = "bold" if header is headers[0] else ""
        table.add_column(header, justify="right", no_wrap=True, width=width, style=style)
    for row in rows:
        table.add_row(*row)
    return table


def show_sets(sets: Mapping[str, SetResults]) -> None:
    """A table for each further set, as that of the test set."""
    for name, results in sets.items():
        tuned = results.tuned
        counts = f"{tuned.queries:,} queries over {tuned.documents:,} documents"
        show_result(tuned, results.base, f"{'base -> tuned' if results.base else tuned.model} on {name}: {counts}")


def show_protocols(result: EvaluationResult) -> None:
    """What copies in the corpus do to the figures: as is, on average over ties, and merged; nothing without copies."""
    if not result.copies:
        return
    title = f"{result.copies:,} of {result.documents:,} documents are copies"
    table = plain_table(title, padding=(0, 1, 0, 0))
    table.add_column("dim", justify="right", style="bold", no_wrap=True, min_width=3)
    names = essential(result, ARTEFACT)[:3]
    for name in names:
        for protocol, above, style in (("as is", "", "dim"), ("ties", _label(name), "dim"), ("merged", "", "bold")):
            table.add_column(Text(f"{above}\n{protocol}", justify="right"), justify="right", no_wrap=True, style=style)
    for dim in result.dims:
        values = [of[dim][name] for name in names for of in (result.metrics, result.expected, result.merged)]
        table.add_row(str(dim), *(f"{value:.3f}" for value in values))
    table.add_section()
    ceilings = [of[name] for name in names for of in (result.ceiling, result.ceiling, result.merged_ceiling)]
    table.add_row("perfect", *(f"{value:.3f}" for value in ceilings))
    table.caption = (
        "as is: each copy counts for itself, ties in the order of ids; ties: averaged over all orders; "
        "merged: copies are one document; perfect: the most that can be had"
    )
    console.print(table)


def show_epoch(result: EvaluationResult, epoch: float, update: int) -> None:
    """The table after an epoch."""
    show_result(result, None, title=f"{result.data}: epoch {epoch:.2f}, update {update}")


def _cell(before: float | None, after: float) -> Text:
    if before is None:
        return Text(f"{after:.4f}")
    style = "green" if after > before else "red" if after < before else ""
    return Text.assemble((f"{before:.3f} → ".removeprefix("0"), "dim"), (f"{after:.3f}".removeprefix("0"), style))


def _with_interval(cell: Text, result: EvaluationResult, dim: int, name: str) -> Text:
    if dim not in result.intervals or name not in result.intervals[dim]:
        return cell
    low, high = result.intervals[dim][name]
    return Text.assemble(cell, (f" ±{(high - low) / 2:.3f}".replace("±0.", "±."), "dim"))


def _label(metric: str) -> str:
    name, _, k = metric.partition("@")
    return f"{LABELS.get(name, name)}@{k}"
