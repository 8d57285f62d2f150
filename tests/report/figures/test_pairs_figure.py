"""The figure of a learning curve shows its values, its intervals and what the encoder gives without pairs."""

from __future__ import annotations

import numpy as np
import pytest

from matryoshka.evaluation.learning_curve import LearningCurve, learning_curve
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.report.figures.pairs_figure import metric_against_pairs
from matryoshka.report.terminal.curve import show_curve, show_next

BASE = EvaluationResult("tiny", "ours", 50, 60, 64, {64: {"ndcg@10": 0.3}, 16: {"ndcg@10": 0.2}})


@pytest.fixture
def curve() -> LearningCurve:
    values_SQD = np.random.default_rng(0).uniform(0.4, 0.6, (2, 50, 2))
    return learning_curve("ndcg@10", {0.5: 1000, 1.0: 2000}, [64, 16], values_SQD, np.arange(50))


@pytest.mark.parametrize("dark", [False, True])
def test_lines_and_bands_are_the_values_and_intervals(curve: LearningCurve, dark: bool) -> None:
    (axes,) = metric_against_pairs(curve, BASE, "projection (learned)", "a stand-in", dark).axes
    drawn = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
    for dim in (64, 16):
        assert drawn[str(dim)] == [point.values[dim] for point in curve.points]
        assert drawn[f"base {dim}"] == [BASE.metrics[dim]["ndcg@10"]] * 2
    (band, _) = axes.collections
    heights = {float(y) for _, y in band.get_paths()[0].vertices}  # type: ignore[attr-defined]
    assert {end for point in curve.points for end in point.intervals[64] or ()} <= heights
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1,000", "2,000"]
    assert {text.get_text() for text in axes.texts} == {"64", "16"}


def test_without_intervals_there_are_no_bands() -> None:
    values_SQD = np.random.default_rng(0).uniform(0.4, 0.6, (2, 50, 2))
    alone = learning_curve("ndcg@10", {0.5: 1000, 1.0: 2000}, [64, 16], values_SQD, np.zeros(50, dtype=np.int64))
    (axes,) = metric_against_pairs(alone, BASE, "projection (learned)").axes
    assert not axes.collections


def test_the_table_has_a_row_a_share_and_one_without_pairs(
    curve: LearningCurve, capsys: pytest.CaptureFixture[str]
) -> None:
    show_curve(curve, BASE)
    show_next("python train.py -m +sweep=pairs")
    said = capsys.readouterr().out
    for words in ("none: as it is", "1,000 (50%)", "2,000 (100%)", ".300", " ±.0", curve.finding, "+sweep=pairs"):
        assert words in said, words
