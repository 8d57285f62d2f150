"""What pages are made of: templates that escape every text, style, and figures as SVG, each light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from matryoshka.evaluation.result import display_name, lexical
from matryoshka.report.figures.curves import training_curves
from matryoshka.report.figures.deployment_figure import metric_against_bytes
from matryoshka.report.figures.doctor_figure import doctor_figure
from matryoshka.report.figures.margins_figure import margins_at_dims
from matryoshka.report.figures.metric_figure import finding, metric_against_dim

if TYPE_CHECKING:
    from matryoshka.report.page.report import Report

BEFORE = re.compile(r"^.*?<svg\b[^>]*?(viewBox=\"[^\"]*\").*?</defs>", flags=re.DOTALL)  # to the end of its own style
TAG = re.compile(r"<[^>]*>")  # in texts and values, > is escaped
ID = re.compile(r"""( id="|xlink:href="#|url\(#)""")  # matplotlib numbers its groups anew in every figure
MARGINS_LABEL = "Margins of the test queries against dimensions kept, before and after training"
FONTS = re.compile(r"font-family: [^;\"]*")


def page_template(name: str, **filters: Callable[..., object]) -> jinja2.Template:
    """The template beside this module, and those that it includes, with filters of its own."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files(__package__).joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(name)


def page_style() -> Markup:
    """What all pages look like, as CSS."""
    return Markup(files(__package__).joinpath("page.css").read_text(encoding="utf-8"))


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an <svg> element that scales, on the page's own background, in its fonts, with texts as text.

    name: a word in front of every id, so that no two figures of a page share one. label: what a screen reader says.
    """
    content = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", facecolor="none", metadata={"Date": None})

    def adapted(tag: re.Match[str]) -> str:
        return FONTS.sub("font-family: system-ui, sans-serif", ID.sub(rf"\g<1>{name}-", tag[0]))

    whole = content.getvalue()
    start = BEFORE.match(whole)
    assert start is not None, "matplotlib writes an SVG with a style first"
    head = Markup('<svg {} role="img" aria-label="{}"><title>{}</title>').format(Markup(start[1]), label, label)
    return head + Markup(TAG.sub(adapted, whole[start.end() :]))


def dims_figure(report: Report, note: str, dark: bool = False) -> Figure:
    """The report's models against dims: nDCG@10 where it was measured, else the first metric; BM25 as a level line."""
    bm25, metric = lexical(report.baselines), report.metrics[0]
    return metric_against_dim(report.tuned, report.base, metric, note, bm25, report.projected, report.name, dark)


def page_figures(report: Report, keep: float) -> dict[str, Markup]:
    """`<name>_figure_light` and `_dark` of each figure that the report has something for."""
    metric, note = report.metrics[0], "; ".join(report.stand_in)
    name = display_name(metric)
    figures: dict[str, tuple[Callable[..., Figure], str]] = {
        "dims": (
            partial(dims_figure, report, note),
            f"{name} against dimensions kept. {finding(report.tuned, metric)}",
        ),
    }
    if "curves" in report.sections:
        metrics = list(dict.fromkeys((metric, report.selected.removeprefix("merged/").partition("/")[0])))
        drawn = partial(training_curves, report.history, metrics, report.saved_step)
        said = f"Loss, learning rate, gradient norm and {name} against updates"
        if report.fitted_alone:
            drawn, said = (
                partial(training_curves, report.history, metrics, None, "steps"),
                "Loss of the fit against steps",
            )
        figures["curves"] = (drawn, said)
    if diagnosis := report.diagnosis:
        figures["doctor"] = (partial(doctor_figure, diagnosis), "Tokens and languages of the training texts")
    if deployment := report.deployment:
        drawn = partial(metric_against_bytes, deployment, keep, note)
        figures["deployment"] = (drawn, f"{name} against bytes per vector. {deployment.advice(keep)}")
    if (explanation := report.explanation) and explanation.after:
        figures["margins"] = (partial(margins_at_dims, explanation, note), MARGINS_LABEL)
    return light_and_dark(figures)


def light_and_dark(figures: Mapping[str, tuple[Callable[..., Figure], str]]) -> dict[str, Markup]:
    """`<name>_figure_light` and `_dark` of each. figures: name -> what draws it, and what a screen reader says."""
    return {
        f"{key}_figure_{theme}": inline_svg(figure(dark=theme == "dark"), f"{key}-{theme}", label)
        for key, (figure, label) in figures.items()
        for theme in ("light", "dark")
    }
