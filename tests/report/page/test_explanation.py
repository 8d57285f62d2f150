"""The page and the lines on what training changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from matryoshka.report.page.explanation import html_explanation, write_explanation
from matryoshka.report.terminal.explanation import show_explanation
from tests.report.page.test_page import Page
from tests.report.records import DIMS
from tests.report.whole import NASTY, explanation


def test_the_page_has_every_measure_and_finding_and_obeys_no_text() -> None:
    source, told = (
        html_explanation(explanation(), f"What training changed {NASTY}", ("another encoder",)),
        explanation(),
    )
    page = Page(source)

    assert "<script" not in source and "<img" not in source
    section = page.sections["changed"]
    for finding in told.findings:
        assert finding.said in section.text
        assert all(lever in section.text for lever in finding.levers)
    assert f"{told.after[8].mean:.3f}" in section.text and "61%" in section.text
    assert len(section.find("table")) == 3


def test_without_margins_and_batches_only_drift_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    alone = replace(explanation(), before={}, after={}, batches=None)
    section = Page(html_explanation(alone, "alone")).sections["changed"]

    assert len(section.find("table")) == 1 and not section.find("figure")
    show_explanation(alone)
    assert "margins of" not in capsys.readouterr().out


def test_both_files_are_written_and_the_terminal_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    written = write_explanation(tmp_path / "why", explanation(), "why")

    assert {path.name for path in written.values()} == {"explanation.json", "explanation.html"}
    show_explanation(explanation())
    said = capsys.readouterr().out
    assert all(str(dim) in said for dim in DIMS)
    assert "try negatives=guide" in said and "2.13% of the candidates" in said
