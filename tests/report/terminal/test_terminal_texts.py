"""Whatever a text holds, the terminal shows it and does not obey it."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matryoshka.evaluation.ask import Answers, Passage
from matryoshka.report.terminal.ask import show_answers
from matryoshka.report.terminal.lines import VisibleTexts, console, say
from matryoshka.storage.credentials import MaskedRecord, visible

STEERING = "\x1b[31mred \x1b]0;title\x07 \x9b2J \x08\x08 \u202egnp.exe [red]x[/red] [link=http://a]y[/link] c\rd"


def steers(text: str) -> bool:
    return any(sign in text for sign in ("\x1b[31mred", "\x1b]0", "\x07", "\x9b", "\x08", "\u202e", "\r"))


def test_lines_and_tabs_stay_and_all_else_is_shown() -> None:
    assert visible("a\tb\nc ä 漢 é\u2028") == "a\tb\nc ä 漢 é\u2028"
    assert visible("\x1b[31m \x7f \r") == "␛[31m ␡ ␍"
    assert not steers(visible(STEERING))


def test_lines_tables_and_answers_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    say("label", STEERING)
    table = Table()
    table.add_column(Text(STEERING))
    table.add_row(Text(STEERING))
    console.print(table)
    found = Passage("d", "d", STEERING, 0.5)
    show_answers(Answers(STEERING, {16: (found,)}))

    shown = capsys.readouterr().out
    assert not steers(shown)
    assert "[red]x[/red] [link=http://a]y[/link]" in " ".join(shown.split())


def test_our_own_colours_stay() -> None:
    written = io.StringIO()
    coloured = Console(file=written, force_terminal=True, color_system="standard", width=200)
    coloured.push_render_hook(VisibleTexts())
    coloured.print(Text(STEERING, style="bold green"))

    assert "\x1b[1;32m" in written.getvalue()
    assert not steers(written.getvalue())


def test_a_log_shows_it() -> None:
    record = MaskedRecord("a", logging.ERROR, "a.py", 1, "about %s", (STEERING,), None)

    assert not steers(record.getMessage())
