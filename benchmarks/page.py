"""The page of a run: `python benchmarks/page.py RECORDS [--output docs/benchmarks.md]`.

RECORDS is a folder that benchmarks/run_all.py wrote. Every figure of the page comes from its records.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from curve_figure import draw
from record import Comparison, Curve, Fact, Record, Run

from matryoshka.report.markdown import plain, table
from matryoshka.storage.atomic import write_atomically

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT / "docs" / "benchmarks.md"
PREFACE = """\
# Benchmarks

How fast this project is, and how much memory it takes, beside sentence-transformers. `make bench` measures it anew and
writes this page. Both sides do the same job in one run, on the same input and with equal weights; what is measured
several times is measured by turns, and speeds are medians. A ratio is how many times as good ours is, repeat by repeat:
its median, and in brackets the smallest and the largest. Nothing here was run on a GPU: all figures are of a CPU."""
QUICK = "**These figures were taken with tiny sizes, only to try the machinery. They say nothing about speed.**"


def main() -> None:
    """Write the page and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("--output", type=Path, default=DEFAULT)
    options = parser.parse_args()
    print(f"{write_page(options.records, options.output)} shows {options.records}")


def write_page(records: Path, output: Path) -> Path:
    """The Markdown page, and below images/ beside it a figure for each curve."""
    run = Run.read(records)
    found = [Record.read(path) for name in run.seconds if (path := records / f"{name}.json").is_file()]
    curves = [curve for record in found for curve in record.curves]
    for curve in curves:
        draw(curve, output.parent / image(curve))
    output.parent.mkdir(parents=True, exist_ok=True)
    return write_atomically(output, page(run, found) + "\n")


def page(run: Run, records: Sequence[Record]) -> str:
    """The whole page."""
    comparisons = [row for record in records for row in record.comparisons]
    facts = [fact for record in records for fact in record.facts]
    curves = [curve for record in records for curve in record.curves]
    notes = [note for record in records for note in record.notes]
    parts = [PREFACE, QUICK if run.quick else "", failures(run), machine(run)]
    if comparisons:
        parts += ["## Against sentence-transformers", verdict(comparisons), comparison_table(run, comparisons)]
        parts += [without_target(run)] if any(row.target is None for row in comparisons) else []
    if facts:
        parts += ["## Limits", fact_table(facts)]
    if curves:
        parts += ["## Curves", *(part for curve in curves for part in curve_parts(curve))]
    if notes:
        parts += ["## Notes", *notes]
    parts += ["## How long it took", duration_table(run)]
    return "\n\n".join(filter(None, parts))


def failures(run: Run) -> str:
    """The scripts without figures, by name."""
    names = ", ".join(f"`{name}.py`" for name in run.failed)
    return f"**Failed, so that their figures are missing: {names}.**" if names else ""


def machine(run: Run) -> str:
    """Where, when and with what."""
    facts, units = run.environment, has_bf16_units(run)
    kind = "bf16 units" if units else "no bf16 units: bf16 is emulated, and the best precision of both sides is fp32"
    packages = {name: facts[name] for name in ("matryoshka", "torch", "transformers", "pytorch-lightning")}
    packages["sentence-transformers"] = run.sentence_transformers
    rows = [
        ["date", run.date],
        ["processor", f"{facts['processor']}; {facts['threads']} threads used"],
        ["kind", f"{run.capability}, {kind}"],
        ["best precision", f"{run.precision} ({run.reason})"],
        ["versions", ", ".join(f"{name} {version}" for name, version in packages.items())],
    ]
    return "## Machine\n\n" + table(["", ""], [[name, plain(value)] for name, value in rows], align="left")


def has_bf16_units(run: Run) -> bool:
    """Whether bf16 is the faster precision there."""
    return run.precision == "bf16"


def is_reached(row: Comparison) -> bool:
    """Whether the median ratio is at least the target."""
    return row.target is not None and statistics.median(row.ratios) >= row.target


def verdict(comparisons: Sequence[Comparison]) -> str:
    """How many targets are reached, and which are missed."""
    aimed = [row for row in comparisons if row.target is not None]
    missed = [row for row in aimed if not is_reached(row)]
    if not aimed:
        return "No row has a target on this machine."
    if not missed:
        return f"All {len(aimed)} targets of this machine are reached."
    lines = [f"- {plain(row.job)}: {ratio(row)}, target {row.target:g}" for row in missed]
    return f"Reached: {len(aimed) - len(missed)} of {len(aimed)} targets. **Missed:**\n\n" + "\n".join(lines)


def without_target(run: Run) -> str:
    """What a row without a target means."""
    if has_bf16_units(run):
        return "Where the target is none, none was set."
    return "Not applicable: the target needs bf16 units, which this processor lacks, or none was set."


def comparison_table(run: Run, comparisons: Sequence[Comparison]) -> str:
    """A row a job."""
    header = ["job", "sentence-transformers", "matryoshka", "ratio", "target", "agreement"]
    none = "none" if has_bf16_units(run) else "not applicable"
    return table(header, [comparison_row(row, none) for row in comparisons], align="left")


def comparison_row(row: Comparison, none: str) -> list[str]:
    """The cells of one job. none: what stands for a target that is not there."""
    theirs, ours = (f"{number(statistics.median(side))} {row.unit}" for side in (row.theirs, row.ours))
    target = none
    if row.target is not None:
        target = f"{row.target:g}, reached" if is_reached(row) else f"**{row.target:g}, missed**"
    agreement = f"**{plain(row.agreement)}**" if "NOT AGREE" in row.agreement else plain(row.agreement)
    return [plain(row.job), theirs, ours, ratio(row), target, agreement]


def ratio(row: Comparison) -> str:
    """The median ratio and its spread."""
    ratios = row.ratios
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} repeats" if len(ratios) > 1 else "1 repeat"
    return f"{statistics.median(ratios):.2f} ({spread})"


def fact_table(facts: Sequence[Fact]) -> str:
    """A row a figure, with its limit and whether it holds."""
    return table(["figure", "value", "limit", "holds"], [fact_row(fact) for fact in facts], align="left")


def fact_row(fact: Fact) -> list[str]:
    """The cells of one figure."""
    limit, holds = "", ""
    if fact.limit is not None:
        limit = f"at {'least' if fact.at_least else 'most'} {number(fact.limit)} {fact.unit}"
        within = fact.value >= fact.limit if fact.at_least else fact.value <= fact.limit
        holds = "yes" if within else "**no**"
    return [plain(fact.name), f"{number(fact.value)} {fact.unit}", limit, holds]


def curve_parts(curve: Curve) -> list[str]:
    """The figure and, in words for all who do not see it, its table."""
    header = [plain(curve.x_label), *(f"{plain(name)}, {curve.y_label}" for name in curve.lines)]
    columns = [["" if value is None else number(value) for value in values] for values in curve.lines.values()]
    rows = [[f"{x:,.7g}", *cells] for x, *cells in zip(curve.x, *columns, strict=True)]
    return [f"![{plain(curve.title)}]({image(curve)})", table(header, rows)]


def image(curve: Curve) -> str:
    """Where a curve's figure lies, seen from the page."""
    return f"images/benchmarks_{curve.name}.png"


def duration_table(run: Run) -> str:
    """Seconds of each script, and of all."""
    rows = [[f"`{name}.py`", f"{seconds:,.0f} s"] for name, seconds in run.seconds.items()]
    return table(["script", "time"], [*rows, ["all", f"{sum(run.seconds.values()) / 60:.1f} min"]], align="left")


def number(value: float) -> str:
    """Three digits that count; whole numbers in full."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
