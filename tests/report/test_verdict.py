"""The first lines about a run, on every surface."""

from __future__ import annotations

from pathlib import Path

import pytest

from matryoshka.evaluation.gains import Gain, Gains
from matryoshka.report.card.card import model_card
from matryoshka.report.page.report import Report, html_report
from matryoshka.report.record import TrainingRecord
from matryoshka.report.verdict import verdict
from matryoshka.report.wandb.contents import summary_of
from matryoshka.training.blend import BlendOutcome, Candidate
from tests.report.records import record

BETTER, UNSHOWN, WORSE = Gain(0.05, (0.04, 0.06)), Gain(0.001, (-0.002, 0.004)), Gain(-0.02, (-0.03, -0.01))


def gains_of(wide: Gain, narrow: Gain, mean: Gain) -> Gains:
    return Gains("ndcg@10", {32: wide, 8: narrow}, mean)


def told() -> TrainingRecord:
    kept = Candidate(0.5, 0.81)
    blend = BlendOutcome("ndcg@10/dim_32", (Candidate(1.0, 0.8), kept, Candidate(0.0, 0.7)), kept)
    gains = {"test": gains_of(BETTER, UNSHOWN, BETTER), "letters <b>": gains_of(UNSHOWN, WORSE, WORSE)}
    return record(gains=gains, blend=blend)


def test_what_it_gained_what_that_cost_and_what_was_kept() -> None:
    here, there, kept = verdict(told())

    assert here == (
        "on the test queries (letters): nDCG@10 better by +.050 (+.040 to +.060) on average over dims, "
        "lower at none; least at 8, +.001 (-.002 to +.004)"
    )
    assert there == (
        "elsewhere, on letters <b>: nDCG@10 worse by -.020 (-.030 to -.010) on average over dims; "
        "most lost at 8, -.020 (-.030 to -.010)"
    )
    assert kept.startswith("kept: a = 0.5 of the tuned weights: ndcg@10/dim_32 0.8100 on the choosing queries (tuned")


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (BETTER, "nDCG@10 better by +.050 (+.040 to +.060) at dim 32"),
        (WORSE, "nDCG@10 worse by -.020 (-.030 to -.010) at dim 32"),
        (UNSHOWN, "nDCG@10 changed, no difference shown, by +.001 (-.002 to +.004) at dim 32"),
    ],
)
def test_a_single_dim(gain: Gain, said: str) -> None:
    (sentence,) = verdict(record(gains={"test": Gains("ndcg@10", {32: gain}, gain)}))

    assert sentence.endswith(said)


def test_page_card_and_tracker_say_it(tmp_path: Path) -> None:
    page, card = html_report(Report.of_training(told())), model_card(told())

    assert page.index("better by +.050") < page.index("<dl>")
    assert "letters &lt;b&gt;: nDCG@10 worse by" in page
    assert "- Kept: a = 0.5 of the tuned weights" in card
    assert "0.5 of the way to the weights of update 19" in page
    assert "is the saved model: 0.5 of the way to the weights of update 19" in card
    assert "worse by -.020" in summary_of(told())["verdict"]


def test_without_gains_nothing_is_said() -> None:
    assert verdict(record()) == ()
    assert "verdict" not in summary_of(record())
