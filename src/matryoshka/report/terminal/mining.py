"""What a mining came to, in the terminal."""

from __future__ import annotations

from rich.text import Text

from matryoshka.mining.result import MiningResult
from matryoshka.report.terminal.lines import console, plain_table


def show_mining(result: MiningResult) -> None:
    """A small table of counts, ranks and what each threshold refused."""
    table = plain_table(f"hard negatives, by {result.searched_by}", show_header=False)
    table.add_column("", style="bold")
    table.add_column("", justify="right")
    rows = {
        "training rows": f"{result.rows:,}",
        "  with negatives": f"{result.mined:,}",
        "  left out, with none": f"{result.left_out:,}",
        "negatives": f"{result.negatives:,}",
        "  mean rank": f"{result.mean_rank:.1f}",
        "  of further ranks": f"{result.beyond:,}",
        "  repeated to fill a row": f"{result.repeated:,}",
        "candidates looked at": f"{result.considered:,}",
        **{f"  refused, {rule}": f"{result.share(count):.1%}" for rule, count in result.refused.items()},
        "mean score of positives": f"{result.mean_positive:.3f}",
        "mean score of negatives": f"{result.mean_negative:.3f}",
    }
    for label, value in rows.items():
        table.add_row(Text(label), Text(value))
    console.print(table)


def show_command(command: str) -> None:
    """The command that trains on the result, in a line that can be copied."""
    console.print(Text("to train on them:", style="bold"))
    console.print(Text(f"  {command}"), soft_wrap=True)
