"""What to deploy, on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.report.terminal.lines import console


def show_deployment(deployment: Deployment, keep: float = 0.98) -> None:
    """The plain options, a row a dim, the rescored ones in grey below, the advice and what it rests on."""
    for block in blocks(deployment, keep):
        console.print(block)


def blocks(deployment: Deployment, keep: float = 0.98) -> list[RenderableType]:
    """What `show_deployment` prints. keep: the share of the full value that the advised option keeps at least."""
    hits = f"rescored: the first {deployment.rescored_hits} hits in the order of {deployment.full.name}, from disk"
    return [
        _table(deployment, f"{deployment.metric_name}, its share of the full one, bytes per vector", False, keep),
        _table(deployment, hits, True, keep),
        Text.assemble(("  deploy  ", "bold"), deployment.saving(keep)),
        Text(f"  {deployment.basis}", style="dim"),
    ]


def _table(deployment: Deployment, title: str, rescored: bool, keep: float) -> Table:
    grey = "dim" if rescored else ""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, style=grey)
    table.padding = (0, 1, 0, 0)
    table.title_style = grey or "bold"
    table.add_column("dim", justify="right", no_wrap=True, min_width=4, style=grey or "bold")
    for precision in deployment.precisions:
        table.add_column(precision, justify="right", no_wrap=True, style=grey, header_style=grey or "bold")
    advised = deployment.advised(keep)
    for dim in deployment.dims:
        some = [deployment.option(dim, precision, rescored) for precision in deployment.precisions]
        table.add_row(str(dim), *(_cell(option, option == advised and not rescored, rescored) for option in some))
    return table


def _cell(option: DeploymentOption, advised: bool, rescored: bool) -> Text:
    if rescored and not option.rescored:  # the full one: rescoring changes nothing
        return Text("-")
    value = f"{option.value:.3f}".removeprefix("0")
    text = f"{value} {option.retention:>6.1%} {option.bytes_per_vector:>4}"
    return Text(text, style="bold green" if advised else "")
