"""The figure of a mining: how similar positives, negatives and refused candidates are to their anchors."""

from __future__ import annotations

from matplotlib.figure import Figure

from matryoshka.mining.result import MiningResult
from matryoshka.report.figures.axes import frame
from matryoshka.report.figures.palette import blank

HEIGHT = 3.9  # inches
DASHES = {"positives": "-", "negatives": (0, (5, 1.5)), "refused": (0, (1.5, 1.5))}


def mining_figure(result: MiningResult, dark: bool = False) -> Figure:
    """A histogram of the scores of each kind, over each other, each of 100%."""
    figure, palette = blank(HEIGHT, dark)
    figure.text(0.025, 0.92, mining_finding(result), fontsize=14.5, fontweight="bold", color=palette.ink)
    axes = figure.add_axes((0.085, 0.14, 0.78, 0.64))
    counts, edges = result.histogram, result.histogram.edges
    colors = {"positives": palette.tuned, "negatives": palette.warning, "refused": palette.base}
    for name, color in colors.items():
        counted = getattr(counts, name)
        values = [100 * count / max(1, sum(counted)) for count in counted]  # refused ones are many times as many
        axes.stairs(values, edges, color=color, fill=True, alpha=0.18)
        axes.stairs(values, edges, color=color, linewidth=1.8, linestyle=DASHES[name], label=name)
    axes.set_xlabel(f"score by {result.scored_by}", color=palette.muted, parse_math=False)
    frame(axes, "% of each kind by its score", palette)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False, fontsize=9.5)
    for text in legend.get_texts():
        text.set_color(palette.ink)
    return figure


def mining_finding(result: MiningResult) -> str:
    """What the figure says, in a sentence."""
    return f"Negatives score {result.mean_negative:.2f} on average, positives {result.mean_positive:.2f}"
