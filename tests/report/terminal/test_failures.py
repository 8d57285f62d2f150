"""Failures as table rows, in the terminal and as a section of a page: the same figures, and no text that breaks it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import jinja2
import pytest
from rich.console import Console

from matryoshka.evaluation.failures import Failures, find_failures
from matryoshka.report.terminal.summary import (
    failures_block,
    show_failures,
)
from matryoshka.report.wandb.contents import failures_rows, lost_rows
from tests.evaluation.planted import planted

DIMS = [64, 32, 16]
NASTY = "[bold]\"><script>alert(1)</script> & 'x'\n" + "Wort " * 100


def failures_section(failures: Failures) -> str:
    """The section as the page includes it."""
    loader = jinja2.PackageLoader("matryoshka", "report/page")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("failures_page.html.j2").render(failures=failures)


@pytest.fixture(scope="module")
def failures() -> Failures:
    return find_failures(planted(60, 120, DIMS, depth=15, copies=30, levels=23), DIMS)


class Page(HTMLParser):
    """Fails where tags do not nest; keeps text, cells and titles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[list[str]] = []
        self.titles: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.titles += [value or "" for name, value in attrs if name == "title"]
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data


def printed(failures: Failures) -> str:
    file = StringIO()
    Console(width=120, file=file).print(failures_block(failures), soft_wrap=True)
    return file.getvalue()


def test_rows_are_the_failures(failures: Failures) -> None:
    columns, rows = failures_rows(failures)
    assert {len(row) for row in rows} == {len(columns)}
    assert [row[:2] for row in rows] == [[dim, f.query_id] for dim in DIMS for f in failures.hardest[dim]]
    row, failure = dict(zip(columns, rows[-1], strict=True)), failures.hardest[16][-1]
    assert row["rank"] == failure.rank and row["answer"] == failure.answer
    assert (row["ranked_first"], row["first_similarity"]) == failure.beaten_by[0]
    columns, rows = lost_rows(failures)
    assert columns[3:6] == ["rank/dim_64", "rank/dim_32", "rank/dim_16"]
    assert [row[3:6] for row in rows] == [list(lost.ranks.values()) for lost in failures.lost]
    assert {len(row) for row in rows} == {len(columns)}


def test_the_terminal_counts_and_names_the_three_that_fell_furthest(failures: Failures) -> None:
    text = printed(failures)
    assert f"{failures.found_first} of 60 queries find their answer first at 64" in text
    for dim in (32, 16):
        assert f"{failures.lost_first[dim]} at {dim} ({failures.lost_top[dim]} from the first 10)" in text
    assert re.findall(r"(frage \d+)\?", text) == [lost.query_id for lost in failures.lost[:3]]
    assert f"rank {failures.lost[0].ranks[64]} at 64, not found at 16" in text


def test_a_single_dim_has_nothing_to_lose(failures: Failures, capsys: pytest.CaptureFixture[str]) -> None:
    show_failures(find_failures(planted(20, 30, [64], depth=20), [64]))
    assert capsys.readouterr().out == ""
    show_failures(failures)
    assert "first at 64" in capsys.readouterr().out


def test_the_page_shows_the_same(failures: Failures) -> None:
    page = Page(failures_section(failures))
    assert page.tags >= {"section", "table", "caption", "details", "summary"}
    assert not page.tags & {"style", "script"}
    for dim in (32, 16):
        assert [str(dim), str(failures.lost_first[dim]), str(failures.lost_top[dim])] in page.cells
    rows = [cells for cells in page.cells if cells[0].startswith("Was sagt")]
    assert len(rows) == len(failures.lost[:20]) + sum(map(len, failures.hardest.values()))
    lost, first = failures.lost[0], len(failures.lost[:20])
    assert rows[0][1:4] == [str(rank or "not found") for rank in lost.ranks.values()]
    failure = failures.hardest[64][0]
    assert rows[first][0] == failure.query
    for text, similarity in failure.beaten_by:
        assert f"{similarity:.3f} {text}" in rows[first][3]


def test_no_text_breaks_the_page_or_the_terminal(failures: Failures) -> None:
    lost = replace(failures.lost[0], query=NASTY, answer=NASTY, first=NASTY)
    failure = replace(failures.hardest[64][0], query=NASTY, answer=NASTY, beaten_by=((NASTY, 0.5),))
    nasty = replace(failures, lost=(lost,) * 60, hardest={**failures.hardest, 64: (failure,)})
    section = failures_section(nasty)
    page = Page(section)
    assert "script" not in page.tags
    assert NASTY in page.titles
    assert all(len(cell) < 600 for row in page.cells for cell in row)
    assert "60 queries, the 20 that fell furthest" in section
    text = printed(nasty)
    assert '[bold]"><script>' in text
    assert max(map(len, text.splitlines())) < 250


def test_a_page_of_one_dim(failures: Failures) -> None:
    page = Page(failures_section(find_failures(planted(20, 30, [64], depth=20), [64])))
    assert "caption" not in page.tags
    assert any(cells[0].startswith("Was sagt") for cells in page.cells)
