"""The end of a run in the terminal: what came of it, what to deploy, where it fails, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.evaluation.failures import Failures
from matryoshka.evaluation.result import NO_DIM
from matryoshka.report.markdown import shortened
from matryoshka.report.page.report import Report
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.lines import console
from matryoshka.report.terminal.result_table import show_protocols, show_result, show_sets
from matryoshka.report.terminal.suite_table import show_suite
from matryoshka.report.verdict import verdict

IN_TERMINAL = 3  # queries that fell
LENGTH = 90  # characters of a text there


def show_training(record: TrainingRecord, written: Mapping[str, Path]) -> None:
    """Base and tuned side by side, with the baselines; copies, further sets, vectors, failures; and every path."""
    lines.show_stand_in(record.stand_in)
    for sentence in verdict(record):
        lines.say("verdict", sentence)
    saved = f"update {record.saved_step} of {record.updates}, best {record.selected}"
    title = "base -> projection" if record.fitted_alone else f"base -> tuned ({saved}, evaluated again)"
    if record.mixed or record.blended:
        title = f"base -> {'mixed' if record.mixed else 'kept'} ({record.kept})"
    beside = [other for other in record.baselines if not record.fitted_alone or NO_DIM in other.metrics]
    show_result(record.tuned, record.base, title, beside)
    for finding in record.explanation.to_do if record.explanation else ():
        lines.say(finding.measure, str(finding))
    lines.say("split", record.split)
    for trouble in record.troubles:
        lines.say("training", trouble)
    show_protocols(record.tuned)
    show_sets(record.sets)
    if record.deployment:
        show_deployment(record.deployment)
    if record.failures:
        show_failures(record.failures)
    lines.show_duration(record.seconds)
    lines.show_paths(written)


def show_evaluation(report: Report, written: Mapping[str, Path]) -> None:
    """A model's table with the baselines, or a suite's; copies, further sets, vectors, failures; and every path."""
    result = report.tuned
    counts = f"{result.queries:,} queries over {result.documents:,} documents"
    if report.suite:
        show_suite(report.suite)
        show_result(result, None, f"mean of {result.data}: {counts}", report.baselines)
    else:
        title = f"{result.model} on {result.data}: {counts}, {result.precision}"
        show_result(result, None, title, report.baselines)
        show_protocols(result)
        show_sets(report.sets)
    if report.deployment:
        show_deployment(report.deployment)
    if report.failures:
        show_failures(report.failures)
    lines.show_paths(written)


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
        ranks = f"{lost.ranks[widest]} at {widest}, {lost.ranks[narrowest] or 'not found'} at {narrowest}"
        lines.append(Text(f"          {shortened(lost.query, LENGTH)}: rank {ranks}"))
        lines.append(Text(f"            right: {shortened(lost.answer, LENGTH)}", style="green"))
        lines.append(Text(f"            first at {narrowest}: {shortened(lost.first, LENGTH)}", style="red"))
    return Group(*lines)


def show_deployment(deployment: Deployment, keep: float = 0.98) -> None:
    """The plain options, a row a dim, the rescored ones in grey below, what to deploy and what that rests on."""
    for block in blocks(deployment, keep):
        console.print(block)


def blocks(deployment: Deployment, keep: float = 0.98) -> list[RenderableType]:
    """What `show_deployment` prints. keep: the share of the full value that the advised options keep at least."""
    hits = f"rescored: the first {deployment.rescored_hits} hits in the order of {deployment.full.name}, from disk"
    advice = Table.grid(padding=(0, 2, 0, 0))  # lines that wrap below their own beginning
    for word, line in zip(("  deploy", ""), deployment.choices(keep), strict=False):
        advice.add_row(Text(word, style="bold"), Text(line))
    return [
        _table(deployment, f"{deployment.metric_name}, its share of the full one, bytes per vector", False, keep),
        _table(deployment, hits, True, keep),
        advice,
        Text(f"  {deployment.basis}", style="dim"),
    ]


def _table(deployment: Deployment, title: str, rescored: bool, keep: float) -> Table:
    grey = "dim" if rescored else ""
    table = lines.plain_table(title, style=grey, padding=(0, 1, 0, 0))
    table.title_style = grey or "bold"
    table.add_column("dim", justify="right", no_wrap=True, min_width=4, style=grey or "bold")
    for precision in deployment.precisions:
        table.add_column(precision, justify="right", no_wrap=True, style=grey, header_style=grey or "bold")
    advised = deployment.advised(keep, rescored)
    for dim in deployment.dims:
        some = [deployment.option(dim, precision, rescored) for precision in deployment.precisions]
        table.add_row(str(dim), *(_cell(option, option == advised, rescored) for option in some))
    return table


def _cell(option: DeploymentOption, advised: bool, rescored: bool) -> Text:
    if rescored and not option.rescored:  # the full one: rescoring changes nothing
        return Text("-")
    value = f"{option.value:.3f}".removeprefix("0")
    text = f"{value} {option.retention:>6.1%} {option.bytes_per_vector:>4}"
    return Text(text, style="bold green" if advised else "")
