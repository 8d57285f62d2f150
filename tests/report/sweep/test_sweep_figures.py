"""The figures of a sweep show its jobs' own values."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from matryoshka.report.figures.palette import DARK, LIGHT
from matryoshka.report.sweep.sweep_figures import heat_map, lines_along
from matryoshka.report.sweep.sweep_gallery import jobs_against_dims, sweep_figures
from matryoshka.sweep.effects import main_effects, with_value
from matryoshka.sweep.result import Sweep
from tests.report.sweep.sweeps import FEW, WIDE, drawn_sweep, job, sweep, whole_sweep, without_result


@pytest.fixture(scope="module")
def whole() -> Sweep:
    return whole_sweep()


def lines(figure: Figure) -> dict[str, Line2D]:
    (axes,) = figure.axes
    return {str(line.get_label()): line for line in axes.lines}


def texts(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.texts}


def written(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def test_the_heat_map_is_over_the_keys_that_matter_most_and_shows_the_best_of_each_cell(whole: Sweep) -> None:
    draw, said = sweep_figures(whole)["heat_map"]
    assert "optimizer.lr and scheduler" in said
    (axes,) = draw().axes

    xs, ys = ([label.get_text() for label in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis))
    assert (xs, ys) == (["2e-5", "5e-5", "1e-4"], ["constant", "cosine", "linear"])
    found = {(text.get_position()[0], text.get_position()[1]): text.get_text() for text in axes.texts}
    for column, rate in enumerate((2e-5, 5e-5, 1e-4)):
        for row, scheduler in enumerate(ys):
            same = [
                j
                for j in with_value(whole)
                if (j.settings["optimizer.lr"], j.settings["scheduler"]) == (rate, scheduler)
            ]
            best = max(j.value for j in same if j.value is not None)
            assert found[column + 0.5, row + 0.5] == f"{best:.3f}"
    (frame,) = axes.patches
    assert frame.get_bbox().bounds == (1, 1, 1, 1)  # type: ignore[attr-defined]


def test_a_cell_without_a_value_says_why(whole: Sweep) -> None:
    some = [job(rate, scheduler) for rate in (2e-5, 5e-5, 1e-4) for scheduler in ("cosine", "linear")]
    some[2:5] = [
        without_result(some[2], "failed"),
        without_result(some[3], "running"),
        without_result(some[4], "pruned"),
    ]
    (axes,) = heat_map(sweep(*some), "optimizer.lr", "scheduler").axes

    assert {"failed", "stopped", "pruned"} < texts(axes)
    (mesh,) = axes.collections
    assert int(np.ma.count(mesh.get_array())) == 3


def test_lines_are_the_best_at_each_rate_on_an_axis_of_factors(whole: Sweep) -> None:
    draw, _ = sweep_figures(whole)["lines"]
    figure = draw()
    (axes,) = figure.axes

    assert axes.get_xscale() == "log"
    assert list(lines(figure)) == ["constant", "cosine", "linear"] and axes.get_legend() is None
    for scheduler, line in lines(figure).items():
        same = [j for j in whole.done if j.settings["scheduler"] == scheduler]
        rates = [2e-5, 5e-5, 1e-4]
        best = [max(j.value or 0.0 for j in same if j.settings["optimizer.lr"] == rate) for rate in rates]
        assert [list(line.get_xdata()), list(line.get_ydata())] == [rates, best]
    assert len(axes.collections[0].get_offsets()) == len(whole.done)
    assert {"constant", "cosine", "linear"} <= texts(axes) and "the best over dims" in written(figure)


def test_one_key_is_one_line_and_seeds_are_no_rates() -> None:
    seeds = sweep(
        *(replace(job(), name=f"{i}", settings={"seed": i}, value=0.5 + i / 100) for i in (1, 2, 3)), keys=("seed",)
    )
    figure = lines_along(seeds, "seed", None)

    assert figure.axes[0].get_xscale() == "linear"
    (line,) = lines(figure).values()
    assert [list(line.get_xdata()), list(line.get_ydata())] == [[1, 2, 3], [0.51, 0.52, 0.53]]


@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        (np.geomspace(1e-5, 2e-4, 20), "log"),
        (np.geomspace(1e-7, 1e-1, 20), "log"),
        (np.geomspace(2e-5, 5e-5, 9), "log"),
        (np.linspace(0.05, 0.95, 20), "linear"),
        (np.linspace(5, 40, 36), "linear"),
    ],
)
def test_names_along_an_axis_of_many_numbers_do_not_overlap(rates: NDArray[np.float64], scale: str) -> None:
    drawn = [float(f"{rate:.4g}") for rate in rates]
    jobs = [replace(job(), name=f"{i}", settings={"x": x}, value=0.5 + i / 100) for i, x in enumerate(drawn)]
    figure = lines_along(sweep(*jobs, keys=("x",)), "x", None)
    (axes,) = figure.axes
    figure.canvas.draw()

    assert axes.get_xscale() == scale
    low, high = axes.get_xlim()
    names = dict(zip(axes.get_xticks(), axes.get_xticklabels(), strict=True))
    shown = {tick: label for tick, label in names.items() if low <= tick <= high and label.get_text()}
    assert 3 <= len(shown) <= 10
    assert [float(label.get_text()) for label in shown.values()] == pytest.approx(list(shown))
    places = [label.get_window_extent() for label in shown.values()]
    assert all(one.x1 + 4 < after.x0 for one, after in pairwise(places))


def test_the_best_job_stands_above_its_base_and_the_others(whole: Sweep) -> None:
    figure = jobs_against_dims(whole)
    found, (best, *others) = lines(figure), whole.done
    assert best.tuned and best.base

    assert list(found["best"].get_xdata()) == FEW[::-1]
    assert list(found["best"].get_ydata()) == [best.tuned.metrics[dim]["ndcg@10"] for dim in FEW[::-1]]
    assert list(found["base"].get_ydata()) == [best.base.metrics[dim]["ndcg@10"] for dim in FEW[::-1]]
    assert found["base"].is_dashed() and not found["best"].is_dashed()
    muted = [line for name, line in found.items() if name not in ("best", "base")]
    assert len(figure.axes[0].lines) == len(others) + 2 and {to_hex(line.get_color()).upper() for line in muted} == {
        LIGHT.base
    }
    assert sorted(len(line.get_xdata()) for line in muted) == sorted(len(j.settings["dims"]) for j in others)
    assert texts(figure.axes[0]) == {"best", "base", *(f"{best.tuned.metrics[dim]['ndcg@10']:.3f}" for dim in FEW)}
    assert figure.axes[0].get_legend() is None and "the 15 other jobs" in written(figure)


def test_every_figure_says_what_stands_in_and_has_a_dark_rendition(whole: Sweep) -> None:
    for draw, _ in sweep_figures(whole).values():
        light, dark = draw(dark=False), draw(dark=True)
        assert "stand-in: embedded:e5_small for BAAI/bge-m3" in written(light)
        assert (to_hex(light.get_facecolor()).upper(), to_hex(dark.get_facecolor()).upper()) == (
            LIGHT.paper,
            DARK.paper,
        )


def test_forty_jobs_of_many_levels_have_no_forty_names() -> None:
    many = [replace(job(1e-5 * (1 + i), dims=WIDE), name=f"{i}", value=0.3 + i / 1000) for i in range(40)]
    many = [replace(j, settings={"optimizer.lr": 1e-5 * (1 + i), "warmup": i / 100}) for i, j in enumerate(many)]
    found = sweep_figures(sweep(*many, keys=("optimizer.lr", "warmup")))

    assert set(found) == {"heat_map", "lines", "metric_against_dim"}
    figure = found["lines"][0]()
    assert len(figure.axes[0].lines) == 1


def test_the_heat_map_of_drawn_numbers_has_the_ranges_of_the_effects() -> None:
    drawn = drawn_sweep()
    effects = main_effects(drawn)
    assert effects is not None
    figure = sweep_figures(drawn)["heat_map"][0]()
    (axes,) = figure.axes

    levels = {effect.key: list(effect.levels) for effect in effects.effects}
    xs, ys = ([label.get_text() for label in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis))
    assert (axes.get_xlabel(), xs) in levels.items() and len(xs) == 3
    assert any(ys == of for of in levels.values()) and "the best over" in written(figure)
    assert f"{max(one.value or 0.0 for one in drawn.done):.3f}" in texts(axes)
    figure.canvas.draw()
    places = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(one.x1 < after.x0 for one, after in pairwise(places))
