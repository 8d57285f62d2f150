"""What the parity tests measured, as one table: for the terminal and for docs/parity.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from rich.markup import escape
from rich.table import Table

from matryoshka.report.environment.environment import environment
from matryoshka.report.markdown import plain
from matryoshka.report.markdown import table as markdown_table

# The areas in the order in which the table shows them; a test's module names its own in AREA.
AREAS = ("Plan of the run", "Loss", "Training", "Batches", "Metrics", "Embeddings", "Saved model", "Model card")
HEADER = ("item", "compared with", "cases", "largest difference", "allowed")
PREFACE = """\
# Parity

What must agree with other people's code, or with what the column says, and by how much it differs. `make parity`
measures all of it anew and writes this page; an item beyond what is allowed fails it. Differences are absolute unless
the item says otherwise; where things are counted (batches, rows, files) it is the number of those that differ.

"""


@dataclass(frozen=True)
class Comparison:
    """One thing measured on both sides. allowed: the largest difference that still counts as equal."""

    area: str
    item: str
    against: str
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the two sides agree; a difference that is no number does not."""
        return self.difference <= self.allowed

    def as_dict(self) -> dict[str, Any]:
        """Plain values: a test run in several processes sends them to one."""
        return asdict(self)


@dataclass(frozen=True)
class Row:
    """Equal items of several cases: the largest of their differences."""

    area: str
    cells: tuple[str, ...]
    holds: bool


def rows(comparisons: Iterable[Comparison]) -> list[Row]:
    """One row an item, in the order in which they came."""
    groups: dict[tuple[str, str, str, float], list[Comparison]] = {}
    for comparison in comparisons:
        key = (comparison.area, comparison.item, comparison.against, comparison.allowed)
        groups.setdefault(key, []).append(comparison)
    return [
        Row(
            area,
            (item, against, f"{len(cases):,}", number(largest(case.difference for case in cases)), number(allowed)),
            all(case.holds for case in cases),
        )
        for (area, item, against, allowed), cases in groups.items()
    ]


def largest(differences: Iterable[float]) -> float:
    """The maximum; a difference that is no number counts as larger than any."""
    return max(differences, key=lambda difference: (math.isnan(difference), difference))


def number(value: float) -> str:
    """A count as it is, anything else with two digits; nan and inf by name."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.1e}"


def terminal_table(measured: Sequence[Row]) -> Table:
    """The table as a terminal shows it; what does not agree in red."""
    shown = Table(title="parity", title_justify="left", title_style="bold", pad_edge=False)
    for name in HEADER:
        shown.add_column(name, justify="right" if name in HEADER[2:] else "left")
    for area in dict.fromkeys(row.area for row in measured):
        shown.add_section()
        shown.add_row(f"[bold]{area}[/bold]")
        for row in measured:
            if row.area == area:
                shown.add_row(*map(escape, row.cells), style=None if row.holds else "red")
    return shown


def page(measured: Sequence[Row]) -> str:
    """docs/parity.md."""
    facts = environment()
    parts = [PREFACE]
    for area in dict.fromkeys(row.area for row in measured):
        cells = [[*map(plain, row.cells)] for row in measured if row.area == area]
        parts += [f"## {area}\n\n", markdown_table(HEADER, cells, "left"), "\n\n"]
    packages = ("torch", "transformers", "pytorch-lightning", "torchmetrics", "matryoshka")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    parts.append(
        f"Measured with Python {facts['python']}, {versions}, on {facts['processor']}; in fp32 unless the item\n"
    )
    parts.append("says otherwise. None of it was measured on a GPU.\n")
    return "".join(parts)
