"""What a training changed as a page of its own and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from matryoshka.report.figures.margins_figure import margins_at_dims
from matryoshka.report.figures.palette import DARK, LIGHT
from matryoshka.report.page.templates import MARGINS_LABEL, light_and_dark, page_style, page_template
from matryoshka.storage.atomic import write_atomically, write_json
from matryoshka.training.explanation.explanation import Explanation


def html_explanation(explanation: Explanation, title: str, stand_in: Sequence[str] = ()) -> str:
    """The whole page, with style and figure in it and nothing loaded. stand_in: what a reader must not miss."""
    figures: dict[str, tuple[Callable[..., Figure], str]] = {}
    if explanation.after:
        figures["margins"] = (partial(margins_at_dims, explanation, "; ".join(stand_in)), MARGINS_LABEL)
    return page_template("explanation.html.j2").render(
        explanation=explanation,
        title=title,
        stand_in=stand_in,
        style=page_style(),
        palettes={"light": LIGHT, "dark": DARK},
        **light_and_dark(figures),
    )


def write_explanation(
    folder: Path, explanation: Explanation, title: str, stand_in: Sequence[str] = ()
) -> dict[str, Path]:
    """explanation.json and explanation.html, each whole or not at all; what they are -> their paths."""
    page = html_explanation(explanation, title, stand_in)
    return {
        "every figure": write_json(folder / "explanation.json", explanation.as_dict()),
        "page": write_atomically(folder / "explanation.html", page),
    }
