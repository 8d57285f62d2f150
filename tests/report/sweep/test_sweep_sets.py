"""Further sets of a sweep's jobs: a column each, and no job is compared by them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from matryoshka.evaluation.result import SetResults
from matryoshka.report.sweep.sweep_files import summary_csv
from matryoshka.report.sweep.sweep_page import html_sweep
from matryoshka.report.sweep.sweep_table import further_sets, set_means, show_sweep
from matryoshka.report.sweep.sweep_verdict import settings_words
from matryoshka.report.terminal.lines import console
from matryoshka.sweep.result import Sweep
from tests.report.page.test_page import Page
from tests.report.records import further_sets as graded_and_words
from tests.report.sweep.sweeps import FEW, job, measured, sweep
from tests.report.whole import NASTY


@pytest.fixture(scope="module")
def whole() -> Sweep:
    """Three jobs: two measured on one set, one of these on a graded one too, and one on none."""
    words = [SetResults(None, measured({dim: dim / 1000 + i / 10 for dim in FEW})) for i in (1, 2)]
    sets = ({"words": words[0]}, {"words": words[1], "graded": graded_and_words()["graded"]}, {})
    jobs = [replace(job(lr, dims=FEW), sets=of) for lr, of in zip((5e-5, 2e-5, 1e-4), sets, strict=True)]
    return sweep(*jobs, keys=("optimizer.lr",))


def plain_mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_a_jobs_figure_is_the_mean_over_its_own_dims(whole: Sweep) -> None:
    assert further_sets(whole) == ("words", "graded")
    for found in whole.done:
        expected = [
            plain_mean([found.sets[name].tuned.metrics[dim]["ndcg@10"] for dim in found.sets[name].tuned.dims])
            if name in found.sets
            else None
            for name in ("words", "graded")
        ]
        assert set_means(whole, found) == pytest.approx(expected)


def shown(of: Sweep, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(console, "_width", 80)
    with console.capture() as captured:
        show_sweep(of, {})
    return [line.rstrip() for line in captured.get().splitlines()]


def test_the_terminal_has_a_table_of_them_in_the_sweeps_order(whole: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(whole, monkeypatch)

    (start,) = [i for i, line in enumerate(lines) if line.startswith("further sets: nDCG@10, mean")]
    rows = [line.split() for line in lines[start:] if line.strip().startswith("optimizer.lr=")][: len(whole.done)]
    for row, found in zip(rows, whole.done, strict=True):
        means = ("–" if mean is None else f"{mean:.3f}".removeprefix("0") for mean in set_means(whole, found))
        assert row == [settings_words(whole, found), *means]
    assert all(len(line) <= 80 for line in lines[start : start + 8])


def test_the_page_and_the_summary_have_them_too(whole: Sweep, tmp_path: Path) -> None:
    head, *rows = Page(html_sweep(whole, tmp_path)).sections["jobs"].find("tr")
    assert [cell.texts[0] for cell in head.children][5:7] == ["nDCG@10, words", "nDCG@10, graded"]
    for row, found in zip(rows, whole.done, strict=True):
        means = ["–" if mean is None else f"{mean:.3f}" for mean in set_means(whole, found)]
        assert [cell.texts[0] for cell in row.children][5:7] == means

    lines = list(csv.DictReader(summary_csv(whole).splitlines()))
    for line, found in zip(lines, whole.jobs, strict=True):
        for name, of in found.sets.items():
            for dim in of.tuned.dims:
                assert float(line[f"{name}/ndcg@10/dim_{dim}"]) == of.tuned.metrics[dim]["ndcg@10"]


def test_they_change_neither_the_order_nor_anything_else_that_is_said(
    whole: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = replace(whole, jobs=tuple(replace(found, sets={}) for found in whole.jobs))

    lines = shown(without, monkeypatch)
    assert "further sets" not in " ".join(lines)
    assert [line for line in shown(whole, monkeypatch) if line and line in lines] == list(filter(None, lines))


def test_no_name_of_a_set_becomes_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = sweep(replace(job(), sets={NASTY: SetResults(None, job().tuned or measured({}))}))

    page = Page(html_sweep(odd, tmp_path))
    assert NASTY in page.sections["jobs"].find("tr")[0].text
    assert not page.root.find("script") and not page.root.find("img")
    assert "<script>" in " ".join(shown(odd, monkeypatch))
