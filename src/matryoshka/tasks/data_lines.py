"""What the first lines say of the data's files."""

from __future__ import annotations

from matryoshka.config.recipe import Recipe
from matryoshka.report.terminal import lines


def show_read_as(recipe: Recipe) -> None:
    """The layouts, separators and encodings that were found or given; nothing of sources that do not tell."""
    for source in (recipe.data, *recipe.sets.values()):
        for line in getattr(source, "read_as", tuple)():
            lines.say("data", line)
