"""The table itself: what it shows of made-up comparisons, and when it becomes a page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from tests.parity.conftest import Parity, Summary
from tests.parity.table import AREAS, Comparison, number, page, rows, terminal_table

NAN, INF = math.nan, math.inf


def compared(area: str, *differences: float, item: str = "a loss", allowed: float = 1e-6) -> list[Comparison]:
    return [Comparison(area, item, "their code", difference, allowed) for difference in differences]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (3.0, "3"),
        (4957, "4,957"),
        (1e-6, "1.0e-06"),
        (2.5, "2.5e+00"),
        (NAN, "nan"),
        (INF, "inf"),
        (-INF, "-inf"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("differences", "shown", "holds"),
    [
        ((1e-7, 5e-7, 2e-7), "5.0e-07", True),
        ((1e-7, 3e-6), "3.0e-06", False),
        ((1e-7, INF), "inf", False),
        ((NAN, 1e-7), "nan", False),
        ((1e-7, NAN), "nan", False),
        ((1e-7, NAN, 2e-7, INF), "nan", False),
    ],
)
def test_a_row_shows_the_largest_difference_of_its_cases(differences: Sequence[float], shown: str, holds: bool) -> None:
    (row,) = rows(compared("Loss", *differences))
    assert row.cells == ("a loss", "their code", str(len(differences)), shown, "1.0e-06")
    assert row.holds == holds


def test_a_row_for_each_item_in_order() -> None:
    given = [*compared("Loss", 0, item="b"), *compared("Loss", 0, item="a"), *compared("Loss", 1e-7, item="b")]
    given += compared("Loss", 0, item="a", allowed=0)
    assert [(row.cells[0], row.cells[2]) for row in rows(given)] == [("b", "2"), ("a", "1"), ("a", "1")]


@pytest.mark.parametrize(("ours", "theirs"), [([NAN, 1], [1, 1]), ([INF, 1], [INF, 1]), ([1 + 1e-5, 1], [1, 1])])
def test_what_does_not_agree_fails_and_is_kept(ours: list[float], theirs: list[float]) -> None:
    kept: list[tuple[str, Any]] = []
    with pytest.raises(AssertionError, match="a loss, their code"):
        Parity("Loss", kept).within("a loss", "their code", ours, theirs, 1e-6)
    ((name, values),) = kept
    assert name == "parity"
    assert not Comparison(**values).holds


def test_the_page_has_each_area_once() -> None:
    text = page(rows([*compared("Loss", 1e-7), *compared("Metrics", NAN, item="map | k = 1"), *compared("Loss", 0)]))
    assert text.startswith("# Parity\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Loss", "## Metrics"]
    assert "| a loss | their code | 2 | 1.0e-07 | 1.0e-06 |" in text
    assert "| map \\| k = 1 | their code | 1 | nan | 1.0e-06 |" in text
    assert "Measured with Python" in text


def test_what_does_not_agree_is_red_on_the_terminal() -> None:
    measured = rows([*compared("Loss", 0, item="good"), *compared("Loss", NAN, item="bad")])
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="standard", no_color=False)
    console.print(terminal_table(measured))
    lines = cast(io.StringIO, console.file).getvalue().splitlines()
    red = {item: any("\x1b[31m" in line for line in lines if item in line) for item in ("good", "bad")}
    assert red == {"good": False, "bad": True}


class Terminal:
    """What Summary asks of pytest's terminal reporter."""

    def __init__(self, skipped: int = 0) -> None:
        self.stats = {"skipped": [None] * skipped}
        self.lines: list[str] = []

    def write_line(self, line: str, **markup: bool) -> None:
        self.lines.append(line)


def summarised(
    path: Path | None, comparisons: Sequence[Comparison], status: int = pytest.ExitCode.OK, skipped: int = 0
) -> list[str]:
    """What Summary writes below its table, after tests that measured this."""
    summary, terminal = Summary(path), Terminal(skipped)
    for comparison in comparisons:
        report = SimpleNamespace(when="call", user_properties=[("parity", comparison.as_dict()), ("other", 1)])
        summary.pytest_runtest_logreport(cast(pytest.TestReport, report))
    summary.pytest_terminal_summary(cast(pytest.TerminalReporter, terminal), status)
    return terminal.lines


EVERYTHING = [comparison for area in reversed(AREAS) for comparison in compared(area, 0, 1e-7)]


def test_a_page_where_all_areas_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "parity.md"
    assert summarised(path, EVERYTHING) == [f"all {len(AREAS)} items agree: {path}"]
    titles = [line[3:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    assert titles == list(AREAS)
    assert "a loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("comparisons", "status", "skipped", "reason"),
    [
        (EVERYTHING, pytest.ExitCode.TESTS_FAILED, 0, "not every test passed"),
        (EVERYTHING, pytest.ExitCode.INTERRUPTED, 0, "not every test passed"),
        (EVERYTHING, pytest.ExitCode.OK, 1, "not every test passed"),
        ([*EVERYTHING, *compared("Loss", NAN)], pytest.ExitCode.OK, 0, "not everything agrees"),
        ([c for c in EVERYTHING if c.area != "Loss"], pytest.ExitCode.OK, 0, "nothing was measured of Loss"),
        ([], pytest.ExitCode.OK, 0, f"nothing was measured of {', '.join(AREAS)}"),
    ],
)
def test_otherwise_the_page_is_left_as_it_was(
    tmp_path: Path, comparisons: list[Comparison], status: int, skipped: int, reason: str
) -> None:
    path = tmp_path / "parity.md"
    path.write_text("of yesterday", encoding="utf-8")
    assert summarised(path, comparisons, status, skipped) == [f"{path} is left as it was: {reason}"]
    assert path.read_text(encoding="utf-8") == "of yesterday"


def test_no_line_about_a_page_that_nobody_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert summarised(None, compared("Loss", 0)) == []
    assert "a loss" in capsys.readouterr().out
