"""Draw every schedule of conf/scheduler/ over one run for docs/schedulers.md: `python scripts/schedulers_figure.py`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import yaml
from hydra.utils import instantiate
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from matryoshka.report.figures.axes import frame
from matryoshka.report.figures.palette import LIGHT
from matryoshka.report.figures.schedule import Schedule, shown

PROJECT = Path(__file__).parents[1]
RATE, EPOCHS, UPDATES = 8e-5, 6, 480
ENDS = [UPDATES * epoch // EPOCHS for epoch in range(1, EPOCHS + 1)]
COLUMNS = 4


def planned(choice: Path) -> Schedule:
    """The schedule of a YAML, with its own defaults."""
    make_scheduler = instantiate(yaml.safe_load(choice.read_text(encoding="utf-8")))
    return Schedule.planned(choice.stem, partial(torch.optim.AdamW, lr=RATE), make_scheduler, UPDATES, ENDS)


def draw(axes: Axes, schedule: Schedule) -> None:
    """The rate of every update, shaded down to the least that it can be; a rule at each evaluation."""
    frame(axes, schedule.name.replace("_", " "), LIGHT)
    updates = range(1, UPDATES + 1)
    for end in ENDS:
        axes.axvline(end + 0.5, color=LIGHT.grid, linewidth=0.8, zorder=0)
    axes.plot(updates, schedule.rates, color=LIGHT.tuned, linewidth=2)
    if schedule.lowest:
        axes.fill_between(updates, schedule.lowest, schedule.rates, color=LIGHT.tuned, alpha=0.16, linewidth=0)
    axes.set_xticks([1, UPDATES], ["1", str(UPDATES)])
    axes.set_yticks([0, RATE], ["0", shown(RATE)])


def main() -> None:
    """Write docs/images/schedulers.png."""
    choices = sorted((PROJECT / "conf" / "scheduler").glob("*.yaml"))
    figure = Figure(figsize=(8.6, 3.6), facecolor=LIGHT.paper, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(choices) // COLUMNS), COLUMNS, sharex=True, sharey=True).flat
    for axes, choice in zip(panels, choices, strict=False):
        draw(axes, planned(choice))
    figure.savefig(PROJECT / "docs" / "images" / "schedulers.png", dpi=150)


if __name__ == "__main__":
    main()
