"""One page about mined negatives that opens from disk and needs nothing else: numbers, a figure, rows to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matryoshka.durations import in_words
from matryoshka.mining.result import MiningResult
from matryoshka.report.figures.mining_figure import mining_figure, mining_finding
from matryoshka.report.figures.palette import DARK, LIGHT
from matryoshka.report.page.templates import inline_svg, page_style, page_template
from matryoshka.storage.atomic import write_atomically


def html_mining(result: MiningResult, command: str, stand_in: Sequence[str] = ()) -> str:
    """The whole page: HTML with its style and figure in it, every text escaped, nothing loaded from anywhere."""
    figures = {
        f"figure_{theme}": inline_svg(
            mining_figure(result, dark=theme == "dark"), f"scores-{theme}", mining_finding(result)
        )
        for theme in ("light", "dark")
    }
    return page_template("mining_page.html.j2").render(
        result=result,
        facts=_facts(result),
        command=command,
        stand_in=stand_in,
        style=page_style(),
        palettes={"light": LIGHT, "dark": DARK},
        **figures,
    )


def write_mining_page(folder: Path, result: MiningResult, command: str, stand_in: Sequence[str] = ()) -> Path:
    """mining.html in the folder, there whole or not at all; returns its path."""
    return write_atomically(folder / "mining.html", html_mining(result, command, stand_in))


def _facts(result: MiningResult) -> dict[str, str]:
    settings = result.settings
    held_out = f"; {result.held_out:,} more equal a right answer of dev or test" if result.held_out else ""
    refused = ", ".join(f"{count:,} by {rule} ({result.share(count):.1%})" for rule, count in result.refused.items())
    further = [
        f"{result.beyond:,} of them of further ranks" if result.beyond else "",
        f"{result.repeated:,} places filled by repeating" if result.repeated else "",
        f"{result.left_out:,} rows without any are left out" if result.left_out else "",
    ]
    return {
        "Searched": f"{result.candidates:,} distinct passages of the training pairs, by {result.searched_by}{held_out}",
        "Taken from": f"ranks {settings['ranks'][0]} to {settings['ranks'][1]}, {settings['pick']}",
        "Thresholds": f"relative {_value(settings, 'relative')}, absolute {_value(settings, 'absolute')}; by "
        f"{result.scored_by}, random pairs at {result.random_score:.3f}",
        "Refused": f"{refused or 'none'}; of {result.considered:,} candidates",
        "Negatives": ", ".join(filter(None, [f"{result.per_row} a row, mean rank {result.mean_rank:.1f}", *further])),
        "Scores": f"{result.mean_positive:.3f} of positives, {result.mean_negative:.3f} of negatives on average",
        "Duration": in_words(result.seconds),
    }


def _value(settings: Mapping[str, Any], name: str) -> str:
    return "none" if settings[name] is None else str(settings[name])
