"""The table of a suite at 80 columns: no name and no value is cut off; the page with names that would break it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from matryoshka.evaluation.result import NO_DIM, EvaluationResult, SetResults
from matryoshka.evaluation.suite import SuiteResult
from matryoshka.report.files import write_evaluation
from matryoshka.report.page.report import Report
from matryoshka.report.terminal.lines import console
from matryoshka.report.terminal.suite_table import show_suite
from tests.evaluation.planted import planted_result
from tests.report.page.test_page import Page
from tests.report.whole import NASTY

DIMS = (768, 512, 256, 128, 64)


def suite(*names: str) -> SuiteResult:
    sets = {name: planted_result(20, 120, DIMS, seed=seed) for seed, name in enumerate(names)}
    bm25 = {name: replace(_without_dims(of), model="BM25") for name, of in sets.items()}
    model = {name: replace(of, model="some-organisation/" + 60 * "x") for name, of in sets.items()}
    return replace(SuiteResult.of(sets, {"gone": "why"}), baselines=(SuiteResult.of(bm25), SuiteResult.of(model)))


def _without_dims(of: EvaluationResult) -> EvaluationResult:
    return replace(
        of,
        metrics={NO_DIM: of.metrics[64]},
        merged={NO_DIM: of.merged[64]},
        expected={NO_DIM: of.expected[64]},
        intervals={NO_DIM: of.intervals[64]},
        rankings=None,
    )


def lines(shown: SuiteResult, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(console, "_width", 80)
    with console.capture() as printed:
        show_suite(shown)
    return [line.rstrip() for line in printed.get().splitlines()]


def test_it_fits_eighty_columns_and_has_the_mean_and_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = suite("NanoQuoraRetrieval", "NanoTouche2020")
    found = lines(shown, monkeypatch)

    assert all(len(line) <= 80 for line in found)
    rows = {line.split()[0]: line.split() for line in found if len(line.split()) > 6 and ":" not in line}
    assert rows["set"] == ["set", *map(str, DIMS), "BM25"]
    for name, of in {**shown.sets, "mean": shown.mean}.items():
        values = [value for value in rows[name][1:] if not value.startswith("±")]
        bm25 = {**shown.baselines[0].sets, "mean": shown.baselines[0].mean}[name].metrics[NO_DIM]["ndcg@10"]
        assert values == [f"{x:.3f}".removeprefix("0") for x in (*(of.metrics[d]["ndcg@10"] for d in DIMS), bm25)]
        low, high = of.intervals[768]["ndcg@10"]
        assert rows[name][2] == f"±{(high - low) / 2:.3f}".replace("0.", ".")
    assert rows["worst"][1] == f"{min(of.metrics[768]['ndcg@10'] for of in shown.sets.values()):.3f}".removeprefix("0")
    assert any(line.endswith("gone: why") for line in found)


def test_a_long_name_is_whole_in_the_terminal_and_no_name_breaks_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a" * 50, f"../{NASTY}")
    shown = suite(*names)
    assert "".join(lines(shown, monkeypatch)).count("a") >= 50

    sets = {name: SetResults(None, of) for name, of in shown.sets.items()}
    others = tuple(other.mean for other in shown.baselines)
    report = Report.of_evaluation(shown.mean, {}, 1.0, config={}, sets=sets, suite=shown, baselines=others)
    write_evaluation(tmp_path, report)
    cells = Page((tmp_path / "report.html").read_text(encoding="utf-8")).sections["sets"].find("table")[0].cells()
    assert [row[0] for row in cells] == ["set", *names, "mean", "worst"]
    assert len({len(row) for row in cells}) == 1
    with (tmp_path / "suite.csv").open(encoding="utf-8", newline="") as file:
        assert {row["set"] for row in csv.DictReader(file)} == {*names, "mean"}
