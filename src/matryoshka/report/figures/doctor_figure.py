"""The figure of a diagnosis: for each column how long its texts are, where they are cut, and their languages."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from matryoshka.data.doctor.diagnosis import Diagnosis
from matryoshka.data.doctor.training_texts import Languages, Lengths
from matryoshka.report.figures.axes import frame
from matryoshka.report.figures.palette import Palette, blank

ROW, FRAME = 1.75, 1.0  # inches: of each column of texts, of title and axis
NARROWEST = 0.09  # share of a bar that has room for a label


def doctor_figure(diagnosis: Diagnosis, dark: bool = False) -> Figure:
    """A row a column: the histogram of its tokens with max_seq_length marked, and the mixture of languages."""
    columns = diagnosis.columns
    height = FRAME + ROW * len(columns)
    figure, palette = blank(height, dark)
    figure.text(0.025, 1 - 0.38 / height, _title(diagnosis), fontsize=14.5, fontweight="bold", color=palette.ink)
    longest = max(column.lengths.longest for column in columns.values())
    for i, (name, column) in enumerate(columns.items()):
        bottom = (0.55 + ROW * (len(columns) - 1 - i)) / height
        axes = figure.add_axes((0.085, bottom, 0.54, (ROW - 0.6) / height))
        _histogram(axes, name, column.lengths, diagnosis.max_seq_length, longest, palette)
        if i == len(columns) - 1:
            axes.set_xlabel("tokens", color=palette.muted)
        if column.languages:
            _mixture(figure.add_axes((0.67, bottom, 0.31, (ROW - 0.6) / height)), column.languages, palette)
    return figure


def _title(diagnosis: Diagnosis) -> str:
    """The column that is cut most, or that none is."""
    name, column = max(diagnosis.columns.items(), key=lambda item: item[1].lengths.cut_share)
    if not column.lengths.cut:
        return f"No text reaches {diagnosis.max_seq_length:,} tokens"
    return f"{column.lengths.cut_share:.1%} of {name} texts reach {diagnosis.max_seq_length:,} tokens"


def _histogram(axes: Axes, name: str, lengths: Lengths, limit: int, longest: int, palette: Palette) -> None:
    axes.stairs(lengths.counts, lengths.edges, fill=True, color=palette.tuned)
    in_sight = limit <= 2 * longest  # else the texts would be a sliver at the left
    axes.set_xlim(0, 1.03 * (max(longest, limit if in_sight else 0) + 1))
    text, x = f"{lengths.cut_share:.1%} cut at {limit:,}", axes.get_xlim()[1]
    if in_sight:
        axes.axvline(limit, color=palette.warning, linewidth=1.6, linestyle=(0, (4, 2.5)))
    label = axes.annotate(text if in_sight else f"{text} →", (x, 1), xycoords=("data", "axes fraction"))
    label.set(ha="right", va="bottom", fontsize=9, fontweight="bold", color=palette.warning)
    title = f"{name}: rows by length, {lengths.mean:.0f} tokens on average"
    frame(axes, title, palette)
    axes.locator_params(axis="y", nbins=3, integer=True)


def _mixture(axes: Axes, languages: Languages, palette: Palette) -> None:
    """One bar of all texts that could be judged, cut by language."""
    start, colors = 0.0, (palette.tuned, *palette.others)
    for i, (language, share) in enumerate(languages.shares.items()):
        color = palette.base if language == "other" else colors[i]
        axes.barh(0, share, left=start, height=0.5, color=color, edgecolor=palette.paper)
        if share >= NARROWEST:
            label = axes.annotate(f"{language}\n{share:.0%}", (start + share / 2, 0.32))
            label.set(ha="center", va="bottom", fontsize=9, color=palette.ink)
        start += share
    axes.set(xlim=(0, 1), ylim=(-0.6, 1.0))
    axes.set_title(f"language of {languages.judged:,} texts", loc="left", fontsize=9.5, color=palette.muted, pad=5)
    axes.set_axis_off()
