"""The colours of figures and of the page around them, on white and on black; an empty figure in them."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 8.6  # inches, of all figures


@dataclass(frozen=True)
class Palette:
    """One rendition. Told apart by anyone: Okabe and Ito's hues, and lines differ in dashes and markers as well.

    paper, ink: background and text. muted: text of less weight. grid: rules. raised: boxes on the paper. tuned, base:
    the two models. warning: what a reader must not miss. others: further models, in their order. from_wide_to_narrow:
    the ends of a ramp for dims.
    """

    paper: str
    ink: str
    muted: str
    grid: str
    raised: str
    tuned: str
    base: str
    warning: str
    others: tuple[str, ...]
    from_wide_to_narrow: tuple[str, str]


LIGHT = Palette(
    paper="#FFFFFF",
    ink="#1A1A1A",
    muted="#5F5F5F",
    grid="#E3E3E3",
    raised="#F6F7F9",
    tuned="#0072B2",
    base="#8A8A8A",
    warning="#B34700",
    others=("#8A5A00", "#007A5A", "#9E4C7E"),
    from_wide_to_narrow=("#08306B", "#6FB7E9"),
)
DARK = Palette(
    paper="#16181D",
    ink="#ECECEC",
    muted="#A9ADB5",
    grid="#33373F",
    raised="#1F2229",
    tuned="#5AB4E5",
    base="#8A8A8A",
    warning="#FF9A5C",
    others=("#F0B93A", "#2FC79A", "#E39AC4"),
    from_wide_to_narrow=("#E4F2FB", "#2F7FB5"),
)


def blank(height: float, dark: bool) -> tuple[Figure, Palette]:
    """An empty figure, so many inches high, and the colours to draw in it."""
    palette = DARK if dark else LIGHT
    figure = Figure(figsize=(WIDTH, height), facecolor=palette.paper)
    FigureCanvasAgg(figure)
    return figure, palette
