"""What the first lines say of how the data were read."""

from __future__ import annotations

from matryoshka.config.recipe import Recipe
from matryoshka.data.split import Split
from matryoshka.report.terminal import lines


def show_read_as(recipe: Recipe, split: Split | None = None) -> None:
    """What was found in files and rows; nothing of sources that do not tell. split: of the data, where there is one."""
    sources = [*([] if split else [recipe.data]), *recipe.sets.values()]
    told = [line for source in sources for line in getattr(source, "read_as", tuple)()]
    for line in (*(split.notes if split else ()), *told):
        lines.say("data", line)
