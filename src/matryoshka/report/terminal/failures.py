"""Where a model fails, made visible: rows for tables, a few lines in the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from matryoshka.evaluation.failures import Failures, Lost
from matryoshka.report.markdown import shortened
from matryoshka.report.terminal.lines import console

Row = list[str | int | float | None]
COLUMNS = ["dim", "query_id", "query", "rank", "answer", "answer_similarity", "ranked_first", "first_similarity"]
IN_TERMINAL = 3  # queries that fell
LENGTH = 90  # characters of a text there


def failures_rows(failures: Failures) -> tuple[list[str], list[Row]]:
    """Columns and rows of the hardest queries, a row a dim and query; None is a rank beyond the hits kept."""
    rows: list[Row] = []
    for dim, hardest in failures.hardest.items():
        for failure in hardest:
            first, similarity = failure.beaten_by[0] if failure.beaten_by else (None, None)
            answer: Row = [failure.rank, failure.answer, failure.answer_similarity]
            rows.append([dim, failure.query_id, failure.query, *answer, first, similarity])
    return COLUMNS, rows


def lost_rows(failures: Failures) -> tuple[list[str], list[Row]]:
    """Columns and rows of the queries that the narrowest dim loses, with the rank at every dim."""
    ranks = [f"rank/dim_{dim}" for dim in failures.dims]
    rows: list[Row] = [
        [lost.query_id, lost.query, lost.answer, *lost.ranks.values(), lost.first] for lost in failures.lost
    ]
    return ["query_id", "query", "answer", *ranks, f"ranked_first/dim_{failures.dims[-1]}"], rows


def show_failures(failures: Failures) -> None:
    """What narrower dims lose, in a line, and the three queries that fell furthest; nothing of a single dim."""
    if failures.lost_first:
        console.print(failures_block(failures), soft_wrap=True)


def failures_block(failures: Failures) -> RenderableType:
    """The lines that `show_failures` prints."""
    widest, narrowest = failures.dims[0], failures.dims[-1]
    parts = [
        f"{count:,} at {dim} ({failures.lost_top[dim]:,} from the first {failures.top})"
        for dim, count in failures.lost_first.items()
    ]
    counts = f"{failures.found_first:,} of {failures.queries:,} queries find their answer first at {widest}; "
    lines = [Text.assemble((f"{'lost':>8}  ", "bold"), counts + "no longer first are " + ", ".join(parts))]
    for lost in failures.lost[:IN_TERMINAL]:
        lines.append(Text(f"          {shortened(lost.query, LENGTH)}: rank {_fall(lost, failures)}"))
        lines.append(Text(f"            right: {shortened(lost.answer, LENGTH)}", style="green"))
        lines.append(Text(f"            first at {narrowest}: {shortened(lost.first, LENGTH)}", style="red"))
    return Group(*lines)


def _fall(lost: Lost, failures: Failures) -> str:
    widest, narrowest = failures.dims[0], failures.dims[-1]
    return f"{lost.ranks[widest]} at {widest}, {lost.ranks[narrowest] or 'not found'} at {narrowest}"
