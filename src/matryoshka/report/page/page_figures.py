"""The figures of a page as SVG, each light and dark, with what a screen reader says of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from markupsafe import Markup
from matplotlib.figure import Figure

from matryoshka.evaluation.result import display_name, lexical
from matryoshka.report.figures.curves import training_curves
from matryoshka.report.figures.deployment_figure import metric_against_bytes
from matryoshka.report.figures.doctor_figure import doctor_figure
from matryoshka.report.figures.metric_figure import finding, metric_against_dim
from matryoshka.report.page.templates import inline_svg

if TYPE_CHECKING:
    from matryoshka.report.page.report import Report


def page_figures(report: Report, keep: float) -> dict[str, Markup]:
    """`<name>_figure_light` and `_dark` of each figure that the report has something for."""
    metric, note = report.metrics[0], "; ".join(report.stand_in)
    name = display_name(metric)
    shown = partial(metric_against_dim, report.tuned, report.base, metric, note, lexical(report.baselines))
    figures: dict[str, tuple[Callable[..., Figure], str]] = {
        "dims": (shown, f"{name} against dimensions kept. {finding(report.tuned, metric)}"),
    }
    if "curves" in report.sections:
        metrics = list(dict.fromkeys((metric, report.selected.removeprefix("merged/").partition("/")[0])))
        drawn = partial(training_curves, report.history, metrics, report.saved_step)
        figures["curves"] = (drawn, f"Loss, learning rate, gradient norm and {name} against updates")
    if diagnosis := report.diagnosis:
        figures["doctor"] = (partial(doctor_figure, diagnosis), "Tokens and languages of the training texts")
    if deployment := report.deployment:
        drawn = partial(metric_against_bytes, deployment, keep, note)
        figures["deployment"] = (drawn, f"{name} against bytes per vector. {deployment.advice(keep)}")
    return {
        f"{key}_figure_{theme}": inline_svg(figure(dark=theme == "dark"), f"{key}-{theme}", label)
        for key, (figure, label) in figures.items()
        for theme in ("light", "dark")
    }
