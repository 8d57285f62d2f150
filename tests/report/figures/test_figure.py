"""The figure shows the result's own numbers, and says the same in its title."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Annotation

from matryoshka.evaluation.result import NO_DIM, EvaluationResult, display_name, shown_metric
from matryoshka.report.figures.axes import spread
from matryoshka.report.figures.metric_figure import finding, metric_against_dim, save_figure, shares
from matryoshka.report.figures.palette import DARK, LIGHT
from matryoshka.report.page.report import Report
from matryoshka.report.page.templates import dims_figure
from tests.report.records import record
from tests.report.records import result as records_result

DIMS = (768, 512, 256, 128, 64)


def result(*values: float, data: str = "German help") -> EvaluationResult:
    metrics = {dim: {"ndcg@10": value, "map@100": value / 2} for dim, value in zip(DIMS, values, strict=False)}
    return EvaluationResult("model", data, 499, 1999, 768, metrics)


TUNED, BASE = result(0.592, 0.584, 0.560, 0.553, 0.526), result(0.567, 0.517, 0.450, 0.408, 0.304)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_lines_are_the_results() -> None:
    (axes,) = metric_against_dim(TUNED, BASE, metric="map@100").axes

    lines = {str(line.get_label()): line for line in axes.lines}
    for label, shown in (("tuned", TUNED), ("base", BASE)):
        np.testing.assert_array_equal(lines[label].get_xdata(), DIMS[::-1])
        np.testing.assert_array_equal(lines[label].get_ydata(), [shown.metrics[dim]["map@100"] for dim in DIMS[::-1]])
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["64", "128", "256", "512", "768"]
    assert axes.get_legend() is None
    assert {"tuned", "base"} <= set(texts(axes))


def test_every_value_and_gain_stands_at_its_point() -> None:
    (axes,) = metric_against_dim(TUNED, BASE).axes

    shown = texts(axes)
    for dim in DIMS:
        value, before = TUNED.metrics[dim]["ndcg@10"], BASE.metrics[dim]["ndcg@10"]
        assert f"{value:.3f}" in shown
        assert f"{value - before:+.3f}" in shown


def test_a_loss_is_shown_below_the_point_with_a_minus() -> None:
    (axes,) = metric_against_dim(BASE, TUNED).axes

    (loss,) = [text for text in axes.texts if text.get_text() == "−0.222"]
    assert loss.get_verticalalignment() == "top"


def test_headings_state_finding_data_and_note() -> None:
    figure = metric_against_dim(TUNED, BASE, note="Another $encoder$ stands in.")

    headings = [text.get_text() for text in figure.texts]
    assert headings == [
        "64 numbers keep 89% of the nDCG@10 of 768",
        "German help: 499 queries over 1,999 documents",
        "Another $encoder$ stands in.",
    ]
    assert finding(result(0.5), "ndcg@10") == "nDCG@10 with 768 numbers a text"
    assert finding(result(0.0, 0.0), "ndcg@10") == "nDCG@10 with 768 numbers a text"
    assert [display_name(name) for name in ("mrr@10", "accuracy@1")] == ["MRR@10", "accuracy@1"]


def test_a_baseline_without_dims_is_a_level_line() -> None:
    bm25 = EvaluationResult("BM25 $x_{", "German help", 499, 1999, 0, {NO_DIM: {"ndcg@10": 0.61}})
    (axes,) = metric_against_dim(TUNED, lexical=bm25).axes

    (line,) = [line for line in axes.lines if line.get_label() == bm25.model]
    assert set(np.asarray(line.get_ydata()).tolist()) == {0.61}
    assert {bm25.model, "model"} <= set(texts(axes)) and not {"base", "tuned"} & set(texts(axes))
    assert axes.get_ylim()[1] > 0.61


def test_a_projection_stands_between_base_and_tuned_and_its_share_of_the_gain_below_the_title() -> None:
    projected = result(0.58, 0.57, 0.55, 0.54, 0.51)
    figure = metric_against_dim(TUNED, BASE, note="A note.", projected=projected)

    (axes,) = figure.axes
    (line,) = [line for line in axes.lines if line.get_label() == "projection"]
    assert np.asarray(line.get_ydata()).tolist() == [projected.metrics[dim]["ndcg@10"] for dim in DIMS[::-1]]
    heights = {text.get_text(): text.xy[1] for text in axes.texts if isinstance(text, Annotation)}
    assert heights["base"] < heights["projection"] < heights["tuned"]
    assert f"{0.526 - 0.304:+.3f}" in texts(axes)
    says = "Of +0.114 nDCG@10 on average over the dims, the projection gave +0.101 and training +0.013"
    assert [text.get_text() for text in figure.texts][2:] == [says, "A note."]
    assert [text.get_fontweight() for text in figure.texts][2:] == ["normal", "bold"]
    assert shares(BASE, TUNED, projected, "ndcg@10").endswith("the projection gave −0.013 and training −0.101")


def test_the_page_and_the_file_call_a_projection_alone_by_its_name() -> None:
    for run, shown, hidden in (
        (record(projected=records_result(0.15)), {"base", "projection", "tuned"}, set()),
        (record(updates=0), {"base", "projection"}, {"tuned"}),
        (record(), {"base", "tuned"}, {"projection"}),
    ):
        (axes,) = dims_figure(Report.of_training(run), "").axes
        assert shown <= set(texts(axes)) and not hidden & set(texts(axes))


def test_a_dark_rendition_shows_the_same() -> None:
    light, dark = (metric_against_dim(TUNED, BASE, dark=dark) for dark in (False, True))

    assert texts(light.axes[0]) == texts(dark.axes[0])
    for figure, palette in ((light, LIGHT), (dark, DARK)):
        assert same_color(figure.get_facecolor(), palette.paper)
        assert same_color(figure.axes[0].lines[-1].get_color(), palette.tuned)


def test_names_of_lines_do_not_meet_and_stay_near() -> None:
    axes = Figure().add_subplot()
    axes.set_ylim(0, 1)
    ends = [("a", 0.9, "k"), ("b", 0.5, "k"), ("c", 0.5, "k"), ("d", 0.52, "k"), ("e", 0.1, "k")]

    placed = {name: y for name, y, _ in spread(ends, axes, apart=0.1)}
    assert placed == pytest.approx(
        {"e": 0.1, "b": 0.52 / 3 + 1 / 3 - 0.1, "c": 1.52 / 3, "d": 1.52 / 3 + 0.1, "a": 0.9}
    )


def test_the_metric_that_stands_for_a_result() -> None:
    assert shown_metric(TUNED) == "ndcg@10"
    assert shown_metric(EvaluationResult("m", "d", 1, 1, 8, {8: {"map@100": 0.5}})) == "map@100"


def test_one_model_and_one_dim_need_no_names() -> None:
    assert texts(metric_against_dim(result(0.5)).axes[0]) == ["0.500"]
    with pytest.raises(KeyError, match="recall@10"):
        metric_against_dim(TUNED, metric="recall@10")


def test_crowded_dims_keep_their_points_but_not_their_labels() -> None:
    dims = (1024, 1000, 960, 512, 64)
    crowded = EvaluationResult("m", "d", 1, 1, 1024, {dim: {"ndcg@10": dim / 2000} for dim in dims})
    (axes,) = metric_against_dim(crowded).axes

    assert len(np.asarray(axes.lines[0].get_xdata())) == len(dims)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["64", "512", "", "", "1024"]


def test_small_differences_look_small() -> None:
    (axes,) = metric_against_dim(result(0.301, 0.3, 0.3, 0.3, 0.3)).axes

    low, high = axes.get_ylim()
    assert high - low > 0.1


def test_files_are_written_and_nothing_global_changes(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    hostile = metric_against_dim(result(0.6, 0.5, data="a $b_{ <&> {{c}} ü"), note="$x" * 400)
    for figure in (metric_against_dim(TUNED, BASE), hostile):
        png, svg = save_figure(figure, tmp_path / "runs.of.may" / "metric_against_dim")
        again = save_figure(figure, tmp_path / "again" / "metric_against_dim")[1]

        assert (png.name, svg.name) == ("metric_against_dim.png", "metric_against_dim.svg")
        pixels = imread(png)
        assert pixels.shape[:2] == (780, 1290)
        assert len(np.unique((pixels[::3, ::3, :3] * 255).astype(int) @ [65536, 256, 1])) > 100
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
        assert svg.read_bytes() == again.read_bytes()
    assert dict(mpl.rcParams) == before
