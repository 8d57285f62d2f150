"""A planned schedule is what a training then uses, and the figures draw its rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.lines import Line2D
from torch.optim.lr_scheduler import LRScheduler

from matryoshka.report.figures.schedule import Schedule, heading, schedule_figure, shown
from matryoshka.training import schedulers
from matryoshka.training.callbacks.metrics_file import MetricsFile
from tests.training.callbacks.small import AT_EPOCH_ENDS, LIGHTNINGS_ADVICE, fit, small_module
from tests.training.test_schedulers import FORMULAS

pytestmark = pytest.mark.filterwarnings(*LIGHTNINGS_ADVICE)

ADAMW = partial(torch.optim.AdamW, lr=8e-5, fused=True)
ENDS = [20, 40, 60, 80]


def planned(maker: Callable[..., LRScheduler], updates: int = 80) -> Schedule:
    return Schedule.planned(maker.__name__, ADAMW, maker, updates, ENDS)


EVERY = tuple(planned(getattr(schedulers, name)) for name in FORMULAS)
PLATEAU = EVERY[-1]


def test_the_rates_are_those_that_a_training_logs(tmp_path: Path) -> None:
    module, data = small_module(log_every=1)
    assert module.plan.epoch_ends == AT_EPOCH_ENDS
    schedule = Schedule.planned("cosine", module.make_optimizer, module.make_scheduler, module.plan.updates)
    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, loggers=[log])

    assert tuple(row["train/learning_rate"] for row in log.rows) == schedule.rates


def test_only_a_metric_leaves_rates_open() -> None:
    assert [schedule.name for schedule in EVERY if schedule.lowest] == ["reduce_on_plateau"]
    assert PLATEAU.rates[8:] == (8e-5,) * 72
    assert PLATEAU.lowest == PLATEAU.rates[:40] + (4e-5,) * 20 + (2e-5,) * 20
    assert [schedule.warmup for schedule in EVERY] == [0, 8, 8, 8, 8, 8, 8, 8]
    assert {schedule.full for schedule in EVERY} == {8e-5}


def test_rates_are_written_as_people_do() -> None:
    rates = {0.0: "0", 8e-5: "8e-5", 1e-3: "1e-3", 3.666e-9: "3.67e-9", 0.0125: "0.0125", 1.0: "1"}
    assert {rate: shown(rate) for rate in rates} == rates


def test_the_title_says_where_the_rate_begins_and_ends() -> None:
    constant, linear = EVERY[:2]
    assert heading(constant) == "Constant: 8e-5 throughout"
    assert heading(linear) == "Linear: from 0 to 8e-5, down to 1.11e-6"
    assert heading(planned(partial_named(schedulers.linear, warmup=0))) == "Linear: 8e-5, down to 1e-6"
    assert heading(planned(partial_named(schedulers.constant, warmup=3))) == "Constant: from 0 to 8e-5, and stays there"
    assert heading(PLATEAU) == "Reduce on plateau: from 0 to 8e-5, falling where the metric stagnates"


def partial_named(maker: Callable[..., LRScheduler], warmup: int) -> Callable[..., LRScheduler]:
    made = partial(maker, warmup=warmup)
    made.__name__ = maker.__name__  # type: ignore[attr-defined]
    return made


def curve(axes: Axes, name: str) -> Line2D:
    return next(line for line in axes.lines if line.get_label() == name)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("schedule", EVERY, ids=lambda schedule: schedule.name)
def test_the_figure_draws_each_updates_rate_and_a_rule_after_each_epoch(schedule: Schedule, dark: bool) -> None:
    figure = schedule_figure(schedule, ENDS, dark)
    (axes,) = figure.axes

    assert same_color(figure.get_facecolor(), "white") != dark
    line = curve(axes, schedule.name)
    assert list(line.get_xdata()) == list(range(1, 81))
    assert tuple(line.get_ydata()) == schedule.rates
    rules = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert rules == [end + 0.5 for end in ENDS]
    texts = [text.get_text() for text in axes.texts]
    assert ("warm-up, 8" in texts) == (schedule.name != "constant")
    assert [f"epoch {epoch}" in texts for epoch in (1, 2, 3, 4)] == [True] * 4
    assert shown(schedule.peak) in texts
    assert (shown(schedule.rates[-1]) in texts) == (schedule.rates[-1] > 0)


def test_many_epochs_are_named_here_and_there() -> None:
    (axes,) = schedule_figure(planned(schedulers.linear), list(range(2, 81, 2))).axes

    numbers = [text.get_text() for text in axes.texts if text.get_text().isdigit()]
    assert numbers == ["4", "8", "12", "16", "20", "24", "28", "32", "36", "40"]


def test_what_a_metric_may_lower_is_shaded_and_bounded() -> None:
    (axes,) = schedule_figure(PLATEAU, ENDS).axes

    below = next(line for line in axes.lines if np.isnan(np.asarray(line.get_ydata(), float)).any())
    values = [value for value in below.get_ydata() if not math.isnan(value)]
    assert values == [*(4e-5,) * 20, *(2e-5,) * 20]
    assert len(axes.collections) == 1
    assert "no further than the shaded area" in schedule_figure(PLATEAU, ENDS).texts[1].get_text()
