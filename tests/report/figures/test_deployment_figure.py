"""The figure, the table and the page show the deployment's own numbers, and no label covers another."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from itertools import combinations

import jinja2
import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.evaluation.deployment.quantisation import PRECISIONS, bytes_per_vector
from matryoshka.report.figures.deployment_figure import MARKERS, metric_against_bytes
from matryoshka.report.terminal.summary import blocks

DIMS = (768, 512, 256, 128, 64)
LOSS = {"float32": 0.0, "float16": 0.0001, "int8": 0.003, "binary": 0.06}


def made(values: tuple[float, ...] = (0.592, 0.584, 0.581, 0.553, 0.526)) -> Deployment:
    options = [
        DeploymentOption(dim, precision, rescored, bytes_per_vector(dim, precision), found, found / values[0])
        for dim, value in zip(DIMS, values, strict=False)
        for precision in PRECISIONS
        for rescored in (False, True)
        for found in [value - LOSS[precision] + 0.5 * rescored * (values[0] - value + LOSS[precision])]
        if (dim, precision, rescored) != (768, "float32", True)
    ]
    return Deployment("ndcg@10", tuple(options), 2742, 500, 938, 40)


DEPLOYMENT = made()


@pytest.fixture(scope="module")
def figure() -> Figure:
    return metric_against_bytes(DEPLOYMENT)


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = [item for item in axes.lines if item.get_label() == label]
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def test_every_option_is_a_point(figure: Figure) -> None:
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    for precision in MARKERS:
        for rescored in (False, True):
            some = [o for o in DEPLOYMENT.options if (o.precision, o.rescored) == (precision, rescored)]
            xs, ys = line(axes, f"{precision}{', rescored' if rescored else ''}")
            assert xs == [o.bytes_per_vector for o in some]
            assert ys == [o.value for o in some]


def test_lines_are_the_fronts(figure: Figure) -> None:
    for rescored in (False, True):
        xs, ys = line(figure.axes[0], f"front {rescored}")
        assert list(zip(xs, ys, strict=True)) == [(o.bytes_per_vector, o.value) for o in DEPLOYMENT.pareto(rescored)]


def test_the_headings_are_the_advice_and_its_points_are_marked(figure: Figure) -> None:
    shown = [text.get_text() for text in figure.texts]
    data = "measured on 500 queries over 938 documents, chosen on these queries; int8 calibrated on 2,742 others"
    assert shown == [DEPLOYMENT.saving(), DEPLOYMENT.choices()[1], data]
    rings = [item for item in figure.axes[0].lines if str(item.get_gid()).startswith("advised")]
    for ring, best in zip(rings, (DEPLOYMENT.advised(), DEPLOYMENT.advised(rescored=True)), strict=True):
        assert (ring.get_xdata(), ring.get_ydata()) == ([best.bytes_per_vector], [best.value])
        assert best.name in [text.get_text() for text in figure.axes[0].texts]


def test_what_the_dev_queries_chose_is_ringed_and_named() -> None:
    dev = {"chosen": (512, "float16"), "chosen_rescored": (64, "int8")}
    chosen = replace(DEPLOYMENT, **dev, queries=1000, documents=1_000_000, calibration=10_000)
    figure = metric_against_bytes(chosen)
    figure.draw_without_rendering()
    assert (figure.texts[0].get_text(), chosen.chosen_on) == (chosen.saving(), "chosen on the dev queries")
    assert all(text.get_window_extent().x1 < figure.canvas.get_width_height()[0] for text in figure.texts)
    rings = [item for item in figure.axes[0].lines if str(item.get_gid()).startswith("advised")]
    assert [np.asarray(ring.get_xdata()).tolist() for ring in rings] == [[1024], [64]]
    for rescored in (False, True):
        assert f"<mark>{chosen.advised(rescored=rescored).value:.4f}" in section(chosen)
    assert all(line in html.unescape(section(chosen)) for line in (*chosen.choices(), chosen.chosen_on))
    assert "1,000 queries over 1,000,000 documents, chosen on the dev queries\n" in rendered(chosen)


@pytest.mark.parametrize("values", [(0.592, 0.584, 0.581, 0.553, 0.526), (0.8,) * 5, (0.8, 0.6, 0.4, 0.2, 0.1), (0.5,)])
def test_labels_cover_neither_points_nor_each_other(values: tuple[float, ...]) -> None:
    deployment = made(values)
    figure = metric_against_bytes(deployment, note="Another $encoder$ stands in.")
    figure.draw_without_rendering()
    (axes,) = figure.axes

    labels = axes.texts
    rescored = deployment.advised(rescored=True) != deployment.full
    assert len(labels) == len(values) * len(MARKERS) + rescored
    boxes = [label.get_window_extent() for label in labels]
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b)
    points = axes.transData.transform([(o.bytes_per_vector, o.value) for o in deployment.options])
    assert not any(box.contains(x, y) for box in boxes for x, y in points)
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height for box in boxes)


def test_a_dark_page_has_the_same_points_in_other_colours(figure: Figure) -> None:
    dark = metric_against_bytes(DEPLOYMENT, dark=True)
    assert line(dark.axes[0], "int8") == line(figure.axes[0], "int8")
    assert dark.get_facecolor() != figure.get_facecolor()
    for ours, theirs in zip(dark.axes[0].lines, figure.axes[0].lines, strict=True):
        assert ours.get_color() != theirs.get_color()


def rendered(deployment: Deployment) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        for block in blocks(deployment):
            console.print(block)
    return capture.get()


def test_the_table_has_every_value_in_80_columns() -> None:
    shown = rendered(DEPLOYMENT)
    assert "…" not in shown
    for option in DEPLOYMENT.options:
        value = f"{option.value:.3f}".removeprefix("0")
        assert re.search(rf"{value} +{option.retention:.1%} +{option.bytes_per_vector}\b", shown), option.name
    assert all(line in " ".join(shown.split()) for line in DEPLOYMENT.choices())
    assert "measured on 500 queries over 938 documents, chosen on these queries" in shown
    assert "first 40 hits" in shown


def section(deployment: Deployment) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("matryoshka", "report/page"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    figures = {f"deployment_figure_{theme}": Markup(f"<svg id='{theme}'/>") for theme in ("light", "dark")}
    return environment.get_template("deployment_page.html.j2").render(deployment=deployment, keep=0.98, **figures)


def test_the_section_has_every_value_and_both_figures() -> None:
    page = section(DEPLOYMENT)
    assert page.startswith('<section id="deploy">') and page.rstrip().endswith("</section>")
    assert "<svg id='light'/>" in page and "<svg id='dark'/>" in page
    for option in DEPLOYMENT.options:
        assert f"{option.value:.4f}, {option.retention:.1%}, {option.bytes_per_vector:,} B" in html.unescape(page)
    assert page.count("<mark>") == 2
    assert all(line in html.unescape(page) for line in DEPLOYMENT.choices())


def test_nothing_in_a_section_is_taken_for_markup() -> None:
    hostile = Deployment("<b>@1", DEPLOYMENT.options, 1, 1, 1, 4)
    assert "<b>" not in section(hostile)
