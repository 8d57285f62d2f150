"""Skipped updates and loss spikes are said wherever a run is shown, and nothing is said of a run without."""

from __future__ import annotations

import json
from pathlib import Path

from matryoshka.report.card.card import model_card
from matryoshka.report.files import _write_run
from matryoshka.report.page.report import Report
from tests.report.records import record

LOSSES = [1.0] * 20 + [7.0] + [1.0] * 5
ROWS = tuple({"step": 10 * (i + 1), "epoch": i / 10, "train/loss": loss} for i, loss in enumerate(LOSSES))
SAID = (
    "2 updates were skipped, for a loss or gradient that was not finite",
    "1 loss spike at update 210: 7, where 1 was usual",
)


def test_troubles_stand_in_the_card_the_page_and_the_runs_facts(tmp_path: Path) -> None:
    troubled = record(history=ROWS, skipped=2, saved_step=40)
    card, facts = model_card(troubled), json.loads(_write_run(tmp_path, troubled).read_text())

    assert troubled.troubles == SAID
    assert all(f"* {sentence}." in card for sentence in SAID)
    assert Report.of_training(troubled).facts["Troubles"] == "; ".join(SAID)
    assert facts["skipped_updates"] == 2
    assert facts["loss_spikes"] == [{"step": 210, "loss": 7.0, "usual": 1.0}]


def test_a_run_without_them_says_nothing() -> None:
    assert record().troubles == ()
    assert "skipped" not in model_card(record())
    assert "Troubles" not in Report.of_training(record()).facts
