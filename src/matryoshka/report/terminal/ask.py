"""The answers to a question in the terminal: a column a dim, each passage under the same letter and colour."""

from __future__ import annotations

from string import ascii_uppercase

from rich.table import Table
from rich.text import Text

from matryoshka.evaluation.ask import Answers
from matryoshka.report.markdown import shortened
from matryoshka.report.terminal.lines import console, plain_table

NARROWEST, GAP = 28, 2  # characters of a column and between two
LINES = 3  # of a passage
COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")


def show_answers(answers: Answers) -> None:
    """The question, and under it what every dim finds; a passage that the widest dim does not find has a plus."""
    console.print(Text(answers.question, style="bold"), soft_wrap=True)
    for table in answer_tables(answers, console.width):
        console.print(table)


def answer_tables(answers: Answers, width: int) -> list[Table]:
    """The dims side by side, as many as `width` characters hold; the others in tables below."""
    at_once = max(1, width // (NARROWEST + GAP))
    groups = [answers.dims[start : start + at_once] for start in range(0, len(answers.dims), at_once)]
    return [_table(answers, dims, width // len(groups[0]) - GAP) for dims in groups]


def letters(answers: Answers) -> dict[str, str]:
    """A letter for each passage, by the order in which they appear: at the widest dim, best first, then at the next."""
    passages = dict.fromkeys(found.passage for best in answers.best.values() for found in best)
    return {passage: _letter(place) for place, passage in enumerate(passages)}


def _letter(place: int) -> str:
    """A to Z, then AA, AB and so on."""
    before, last = divmod(place, len(ascii_uppercase))
    return (_letter(before - 1) if before else "") + ascii_uppercase[last]


def _table(answers: Answers, dims: list[int], width: int) -> Table:
    named = letters(answers)
    table = plain_table(padding=(0, GAP, 0, 0), show_edge=False)
    for dim in dims:
        lost = " ".join(named[passage] for passage in answers.lost(dim))
        kept = "" if dim == answers.dims[0] else f"without {lost}" if lost else "all of them kept"
        table.add_column(Text(f"dim {dim}\n{kept}"), width=width)
    for row in zip(*(_cells(answers, named, dim, width) for dim in dims), strict=True):
        table.add_row(*row)
    return table


def _cells(answers: Answers, named: dict[str, str], dim: int, width: int) -> list[Text]:
    widest = {found.passage for found in answers.best[answers.dims[0]]}
    colours = {passage: COLOURS[place % len(COLOURS)] for place, passage in enumerate(named)}
    return [
        Text.assemble(
            (named[found.passage] + ("" if found.passage in widest else "+"), f"bold {colours[found.passage]}"),
            (f"  {found.similarity:.3f}\n", "dim"),
            (f"{shortened(found.text, LINES * width)}\n", colours[found.passage]),
        )
        for found in answers.best[dim]
    ]
