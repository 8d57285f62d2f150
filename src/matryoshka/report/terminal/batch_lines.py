"""The first lines on an epoch's batches: of which sources they are, and what copies of texts do to them."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from matryoshka.data.samplers import BatchSummary
from matryoshka.report.terminal.lines import console, say


def show_sources(rows: Mapping[str, int], batches: Mapping[str, int]) -> None:
    """How many rows of each source there are, and how many of the first epoch's batches each has."""
    every = sum(batches.values())
    each = (f"{name} {rows[name]:,} pairs, {count / every:.0%} of the batches" for name, count in batches.items())
    say("sources", "; ".join(each))


def show_batches(batches: BatchSummary, masked: bool) -> None:
    """What copies of texts do to an epoch's batches; nothing if they do nothing."""
    said = f"{batches.sharing:,} rows have a text that others have too: "
    if batches.extra:
        said += f"{batches.batches:,} batches an epoch where {batches.batches - batches.extra:,} would hold all rows"
        if batches.of_one_row:
            said += f", {batches.of_one_row:,} of them of one row, which learns nothing"
        said += "; sampler.clashes=mask keeps them full"
    elif batches.clashing and masked:
        said += f"{batches.clashing:,} meet it in their batch, and the loss leaves out what is no negative"
    elif batches.clashing:
        said += f"{batches.clashing:,} meet it in their batch, where a right answer is trained as a wrong one; "
        said += "sampler=no_duplicates keeps them apart"
    else:
        return
    console.print(Text.assemble(("batches  ", "bold"), (said, "yellow")), soft_wrap=True)
