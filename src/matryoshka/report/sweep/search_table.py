"""A search in the terminal and in files: its plan, what trials came to, and with two objectives the front."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from matryoshka.durations import in_words
from matryoshka.report.figures.axes import frame
from matryoshka.report.figures.metric_figure import save_figure
from matryoshka.report.figures.palette import WIDTH
from matryoshka.report.sweep.sweep_figures import sheet
from matryoshka.report.terminal.lines import say, show_paths
from matryoshka.storage.atomic import write_atomically
from matryoshka.sweep.result import Outcome
from matryoshka.sweep.status import mean_seconds, read_status

if TYPE_CHECKING:  # optuna is an extra
    from optuna.trial import FrozenTrial

    from matryoshka.sweep.search import Search

FRONT = "pareto"


def show_search(search: Search, left: int, again: int, at_once: int, metrics: Sequence[str], pruning: str) -> None:
    """The plan: what there is and what is left, what is drawn from what, how long it takes, where it goes.

    left: trials to run, `again` of them once more. metrics: what trials are judged by. pruning: when one is given up
    early, in a sentence.
    """
    from matryoshka.sweep.space import space_words

    before = f", {len(search.ended)} of them done before" if search.ended else ""
    repeated = f"; {again} that did not end are tried again" if again else ""
    say("search", f"{left + len(search.ended)} trials{before}, {at_once} at a time{repeated}")
    if left:
        for key, values in search.space.items():
            say("draws", f"{key}: {space_words(values)}")
        say("draws", f"the first {search.startup_trials} trials at random, then by TPE")
        goals = {
            "quality": f"{' or '.join(metrics)} as high as possible",
            "bytes": "bytes of a vector as few as possible",
        }
        say("goal", ", ".join(goals[objective] for objective in search.objectives))
        say("pruning", pruning)
    if len(metrics) > 1 and len(search.objectives) == 1:
        say(
            "note", "each trial is judged by a metric of its own; evaluator.select=... sets one, such as ndcg@10/dim_64"
        )
    statuses = [status for path in search.folder.glob("*/status.json") if (status := read_status(path.parent))]
    if left and (seconds := mean_seconds(statuses)):
        say("time", f"about {in_words(left * seconds / at_once)}, if trials take as long as those before")
    say("results", f"go to {search.folder}; Ctrl-C, and later the same command goes on")


def trial_words(trial: FrozenTrial, search: Search) -> str:
    """What a trial came to: `trial 7: 0.563 (the best of 6: 0.570, trial 3)`."""
    if not trial.state.is_finished() or not trial.values:
        return f"trial {trial.number} failed" if trial.state.name == "FAIL" else f"trial {trial.number} was given up"
    values = ", ".join(f"{value:.4g}" for value in trial.values)
    if trial.state.name == "PRUNED":
        return f"trial {trial.number} was given up at {values}"
    best = search.front
    if len(search.objectives) > 1:
        return f"trial {trial.number}: {values} (on the front: {len(best)})"
    return f"trial {trial.number}: {values} (the best is trial {best[0].number}: {best[0].values[0]:.4g})"


def show_front(folder: Path, outcomes: Sequence[Outcome], stand_in: Sequence[str]) -> None:
    """List the trials that no other beats in bytes or quality; write all of them as CSV and figure.

    stand_in: as in Sweep.
    """
    if not outcomes:
        return
    for outcome in outcomes:
        if outcome.best:
            say("front", f"{outcome.bytes:,} bytes: {outcome.quality:.4f}  {outcome.job}")
    figure = save_figure(quality_against_bytes(outcomes, stand_in), folder / FRONT)[0]
    show_paths({"front": write_atomically(folder / f"{FRONT}.csv", front_csv(outcomes)), "figure of the front": figure})


def front_csv(outcomes: Sequence[Outcome]) -> str:
    """A row a trial, fewest bytes first; `front` is true for those that no other beats."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trial", "bytes", "quality", "front", "job"))
    writer.writerows((o.number, o.bytes, o.quality, str(o.best).lower(), o.job) for o in outcomes)
    return text.getvalue()


def read_front(folder: Path) -> list[Outcome]:
    """What `front_csv` wrote for this sweep; empty where there is none: a search by quality alone, or a grid."""
    path = folder / f"{FRONT}.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Outcome(int(row["trial"]), row["job"], float(row["quality"]), int(row["bytes"]), row["front"] == "true")
            for row in csv.DictReader(file)
        ]


def quality_against_bytes(outcomes: Sequence[Outcome], stand_in: Sequence[str] = (), dark: bool = False) -> Figure:
    """Each trial as a dot on an axis of doublings, the front as a line with the trials' numbers."""
    front = [outcome for outcome in outcomes if outcome.best]
    title = f"{len(front)} of {len(outcomes)} trials are on the front"
    lines = ["the selecting metric, on the queries that selected the weights, against bytes of a float32 vector"]
    figure, palette = sheet(3.6, title, lines, stand_in, dark)
    whole = figure.get_figheight()
    axes = figure.add_axes((0.75 / WIDTH, 0.6 / whole, (WIDTH - 1.2) / WIDTH, 2.6 / whole))
    axes.scatter([o.bytes for o in outcomes], [o.quality for o in outcomes], s=16, color=palette.base, lw=0)
    axes.plot([o.bytes for o in front], [o.quality for o in front], color=palette.tuned, marker="o", linewidth=2)
    for outcome in front:
        place = (outcome.bytes, outcome.quality)
        label = axes.annotate(f"trial {outcome.number}", place, (0, 8), textcoords="offset points", ha="center")
        label.set(color=palette.tuned, fontweight="bold")
    axes.set_xscale("log", base=2)
    sizes = sorted({outcome.bytes for outcome in outcomes})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.16)
    axes.set_xlabel("bytes per vector", color=palette.muted)
    frame(axes, "selecting metric", palette)
    return figure
