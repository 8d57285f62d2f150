"""One page about a sweep that opens from disk, needs nothing else, and leads to each job's report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from matryoshka.durations import in_words
from matryoshka.evaluation.result import display_name
from matryoshka.report.figures.palette import DARK, LIGHT
from matryoshka.report.page.templates import inline_svg, page_style, page_template
from matryoshka.report.sweep.search_table import FRONT, quality_against_bytes, read_front
from matryoshka.report.sweep.sweep_experiment import best_experiment, compare_command, rerun_command
from matryoshka.report.sweep.sweep_gallery import Draw, sweep_figures
from matryoshka.report.sweep.sweep_table import (
    further_sets,
    given_up,
    reason,
    reported_labels,
    set_means,
    setting_labels,
    state,
    unfinished,
)
from matryoshka.report.sweep.sweep_verdict import (
    close_jobs,
    closeness,
    common_dims,
    reported_figures,
    reported_metric,
    selected_words,
    settings_words,
    verdict,
)
from matryoshka.report.terminal.lines import as_typed
from matryoshka.sweep.effects import as_level, in_order, main_effects
from matryoshka.sweep.ranges import keys_in_ranges
from matryoshka.sweep.result import JobResult, Sweep


def html_sweep(sweep: Sweep, folder: Path) -> str:
    """The whole page: HTML with its style and figures in it, every text escaped, nothing loaded from anywhere.

    folder: the sweep's, where the page will be; it links the reports and logs that are there, and shows the front.
    """
    best, second = (*sweep.done[:2], None, None)[:2]
    shown = as_typed(folder)
    effects = main_effects(sweep)
    return page_template("sweep_page.html.j2", level=as_level, duration=in_words).render(
        sweep=sweep,
        verdict=verdict(sweep),
        closeness=closeness(sweep),
        close=close_jobs(sweep),
        facts=_facts(sweep),
        labels=setting_labels(sweep),
        selected=selected_words(sweep.selected),
        reported=reported_labels(sweep),
        figures_of={job.name: reported_figures(sweep, job) for job in sweep.done},
        further=[f"{display_name(reported_metric(sweep))}, {name}" for name in further_sets(sweep)],
        means_of={job.name: set_means(sweep, job) for job in sweep.done},
        own_dims=not common_dims(sweep),
        links={job.name: link(folder, job, "report.html") for job in sweep.done},
        drawings=_drawings(sweep, folder),
        effects=effects,
        grouped=keys_in_ranges(sweep),
        scale=max((abs(value) for effect in effects.effects for value in effect.levels.values()), default=0)
        if effects
        else 0,
        unfinished=_without_result(sweep, folder, unfinished(sweep)),
        given_up=_without_result(sweep, folder, given_up(sweep)),
        rerun=rerun_command(shown, best) if best and best.config is not None else "",
        compare=compare_command(shown, best, second) if best and second else "",
        experiment=best_experiment(sweep),
        style=page_style(),
        palettes={"light": LIGHT, "dark": DARK},
    )


def link(folder: Path, job: JobResult, name: str) -> str:
    """The relative address of a file in a job's folder; empty where it is not there."""
    return quote(f"{job.name}/{name}") if (folder / job.name / name).is_file() else ""


def _without_result(sweep: Sweep, folder: Path, jobs: Sequence[JobResult]) -> list[tuple[str, str, str, str]]:
    """Of each job its settings, state, reason and the address of its log."""
    return [(settings_words(sweep, job), state(job), reason(job), link(folder, job, "train.log")) for job in jobs]


def _facts(sweep: Sweep) -> dict[str, str]:
    """What was swept and what became of it: a label and a sentence each."""
    counts = {label: sum(state(job) == label for job in sweep.jobs) for label in map(state, sweep.jobs)}
    facts = {"Jobs": ", ".join(f"{count} {label}" for label, count in counts.items()) or "none"}
    grouped = keys_in_ranges(sweep)
    for key in sweep.keys:
        levels = in_order(job.settings.get(key) for job in sweep.jobs)
        facts[key] = _span(list(levels)) if key in grouped else " | ".join(levels)
    seconds = [job.seconds for job in sweep.jobs if job.seconds is not None]
    if seconds:
        facts["Time"] = f"{in_words(sum(seconds))} in all jobs together"
    if sweep.selected:
        facts["Compared by"] = f"{selected_words(sweep.selected)} ({sweep.selected})"
    return facts | ({"Split": sweep.split} if sweep.split else {})


def _span(levels: list[str]) -> str:
    return f"{len(levels)} numbers from {levels[0]} to {levels[-1]}"


def _drawings(sweep: Sweep, folder: Path) -> list[tuple[Markup, Markup, str, str]]:
    """Each figure as SVG, light and dark, with what it shows, and the file of its numbers where it has one."""
    figures: dict[str, tuple[Draw, str]] = {}
    if front := read_front(folder):
        said = "The selecting metric against the bytes of a vector: a dot a trial, a line through those on the front"
        figures[FRONT] = (partial(quality_against_bytes, front, sweep.stand_in), said)
    figures |= sweep_figures(sweep)
    return [
        (
            inline_svg(draw(dark=False), f"{name}-light", said),
            inline_svg(draw(dark=True), f"{name}-dark", said),
            said,
            f"{FRONT}.csv" if name == FRONT else "",
        )
        for name, (draw, said) in figures.items()
    ]
