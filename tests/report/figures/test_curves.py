"""Curves are the logged values, each where it was logged."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from matryoshka.report.figures.curves import DRAWN, by_dim, curve, training_curves

HISTORY = [
    {"step": 0, "dev/ndcg@10/dim_16": 0.1, "dev/ndcg@10/dim_128": 0.2, "ndcg@10/dim_128": 0.9},
    {"step": 5, "train/loss": 3.0, "train/loss/dim_16": 1.75, "train/loss/dim_128": 1.25, "train/learning_rate": 1e-5},
    {"step": 10, "train/loss": 2.0, "train/loss/dim_16": 1.5, "train/loss/dim_128": 0.5, "train/learning_rate": 5e-6},
    {"step": 10, "dev/ndcg@10/dim_16": 0.3, "dev/ndcg@10/dim_128": 0.4, "dev/map@100/dim_16": 0.5},
]


def lines(figure: Figure) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    return {
        axes.get_title("left"): {
            str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
            for line in axes.lines
        }
        for axes in figure.axes
    }


def test_lines_are_what_was_logged() -> None:
    shown = lines(training_curves(HISTORY, ["ndcg@10", "map@100", "mrr@10"], saved_step=10))

    saved = ([10, 10], [0, 1])
    assert {title: {name: line for name, line in of.items() if name != "saved"} for title, of in shown.items()} == {
        "training loss": {"_child0": ([5, 10], [3.0, 2.0])},
        "learning rate": {"_child0": ([5, 10], [1e-5, 5e-6])},
        "training loss of each dim": {"128": ([5, 10], [1.25, 0.5]), "16": ([5, 10], [1.75, 1.5])},
        "nDCG@10": {"128": ([0, 10], [0.2, 0.4]), "16": ([0, 10], [0.1, 0.3])},
        "MAP@100": {"16": ([10], [0.5])},
    }
    assert all(of["saved"] == saved for of in shown.values())


def test_dims_are_named_at_the_end_of_their_lines() -> None:
    for dark in (False, True):
        figure = training_curves(HISTORY, ["ndcg@10"], saved_step=None, dark=dark)
        (axes,) = [axes for axes in figure.axes if axes.get_title("left") == "nDCG@10"]
        assert [text.get_text() for text in axes.texts] == ["16", "128"]
        assert "saved" not in lines(figure)["nDCG@10"]


def test_dev_queries_come_before_reported_ones() -> None:
    assert by_dim(HISTORY, "ndcg@10")["128"] == ([0, 10], [0.2, 0.4])
    assert by_dim([{"step": 1, "ndcg@10/dim_8": 0.5}], "ndcg@10") == {"8": ([1], [0.5])}


def test_long_curves_are_thinned_out_and_what_is_not_finite_is_left_out() -> None:
    rows = [{"step": step, "train/loss": math.inf if step == 7 else 1 / (step + 1)} for step in range(3 * DRAWN)]
    steps, values = curve(rows, "train/loss")

    assert 0.5 * DRAWN < len(steps) <= DRAWN
    assert values == [1 / (step + 1) for step in steps]
    assert np.ptp(np.diff(steps)) <= 1


def test_a_loss_spike_has_a_ring_around_its_value() -> None:
    losses = [1.0] * 20 + [7.0] + [1.0] * 5
    rows = [{"step": 10 * (i + 1), "train/loss": loss, "train/learning_rate": 1e-5} for i, loss in enumerate(losses)]
    shown = lines(training_curves(rows, [], saved_step=None))

    assert shown["training loss"]["spikes"] == ([210], [7.0])
    assert "spikes" not in shown["learning rate"]
