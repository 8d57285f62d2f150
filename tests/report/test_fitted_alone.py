"""A projection without training, also of stored vectors of which nothing else is known, on every surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from matryoshka.evaluation.result import NO_DIM
from matryoshka.report.encoder_summary import EncoderSummary
from matryoshka.report.files import write_training
from matryoshka.report.page.report import Report, html_report
from matryoshka.report.record import PairsSummary, TrainingRecord
from matryoshka.report.terminal.lines import console
from matryoshka.report.terminal.summary import show_training
from matryoshka.report.wandb.contents import summary_of, tables_of
from tests.report.records import DIMS, METRICS, record, result

STEPS = tuple({"step": step, "train/loss": 80 / step, "epoch": 0.0} for step in (10, 20, 100))
PCA = replace(result(0.15), model="projection (pca)")
BM25 = replace(result(0.1), model="BM25", metrics={NO_DIM: dict.fromkeys(METRICS, 0.3)})


def fitted(history: tuple[Mapping[str, float], ...] = STEPS) -> TrainingRecord:
    """Of vectors without texts."""
    return record(
        updates=0,
        selected="ndcg@10/mean",
        saved_step=100,
        history=history,
        encoder=EncoderSummary.unknown(32),
        base_model="vectors of another house",
        pairs=PairsSummary("tickets", 4957, ("anchor", "positive"), {}, ()),
        batches=None,
        dev_base=result(0.05),
        baselines=(PCA, BM25),
    )


def test_the_page_tells_a_fit_and_no_training() -> None:
    page = html_report(Report.of_training(fitted()))

    for said in (
        "vectors of another house, a projection for tickets",
        "<h2>Projection</h2>",
        '<a href="#curves">Projection</a>',
        "The loss of the fit against its steps; the encoder stayed as it was.",
        "Without and with the projection",
        "Chosen on the 551 dev queries, not on those of the summary. Without it, there:",
        "projection (pca)",
        ">steps<",
    ):
        assert said in page
    for said in (
        "<h2>Training</h2>",
        "Before and after training",
        "before training",
        "0 tokens",
        ">updates<",
        ">tuned<",
    ):
        assert said not in page


def test_the_page_of_a_training_tells_one() -> None:
    page = html_report(Report.of_training(record(projected=PCA)))

    assert "<h2>Training</h2>" in page and "Before and after training" in page and ">updates<" in page
    assert "the projection gave +0.050 and training +0.050" in page


def test_a_closed_form_has_no_curve() -> None:
    assert 'id="curves"' not in html_report(Report.of_training(fitted(history=())))


def test_files_and_terminal_do_without_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 80)
    written = write_training(tmp_path, fitted(), None, None)
    with console.capture() as printed:
        show_training(fitted(), written)

    assert "base -> projection" in printed.get() and "BM25" in printed.get() and "update" not in printed.get()
    assert {"figure", "report", "results", "run"} <= set(written) and "model" not in written
    assert "a projection for tickets" in (tmp_path / "report.html").read_text()


def test_wandb_has_what_the_projection_alone_gave() -> None:
    summary = summary_of(record(projected=PCA, baselines=(PCA,)))
    for dim in DIMS:
        assert {name: summary[f"projection/dim_{dim}/{name}"] for name in METRICS} == PCA.metrics[dim]
    assert not [name for name in summary_of(fitted()) if name.startswith("projection/")]
    _, columns, rows = next(iter(tables_of(fitted())))
    assert columns[:2] == ["dim", "model"] and [row[0] for row in rows if row[1] == "projection (pca)"] == list(DIMS)
