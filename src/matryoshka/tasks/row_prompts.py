"""Prompts that rows of the training data bring along: one for all queries, or each row's own."""

from __future__ import annotations

from dataclasses import replace

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.split import Split
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.pooling import includes_prompt
from matryoshka.errors import UserError
from matryoshka.storage.command_words import quoted


def take_prompts(recipe: TrainingRecipe, split: Split, encoder: Encoder) -> Split:
    """Where all rows have one prompt it becomes the encoder's for queries; returns the split with a line that says so.

    Raises UserError where rows and configuration want different ones, and where rows have several beside a prompt of
    the encoder's.
    """
    if split.pools is None or not split.pools.prompts:
        return split
    own, rows = encoder.prompts["query"], list(dict.fromkeys(split.pools.prompts))
    if len(rows) > 1 and not includes_prompt(encoder.pooling):
        raise UserError(
            f"pooling: it leaves out the prompt, and rows of the training data have several, such as {rows[0]!r} and "
            f"{rows[1]!r}; use a pooling with the prompt, or remove the column 'prompt'"
        )
    if len(rows) > 1:
        if own:
            raise UserError(
                f"encoder.prompts: rows of the training data have prompts of their own, such as {rows[0]!r} and "
                f"{rows[1]!r}, and the encoder puts {own!r} in front of every query; use "
                "'encoder.prompts={query: \"\", document: \"\"}', or remove the column 'prompt'"
            )
        note = f"{len(rows):,} prompts, each in front of its row's query; queries that are measured get none"
        return replace(split, notes=(*split.notes, note))
    configured = recipe.config["encoder"].get("prompts")
    if configured is not None and own != rows[0]:
        raise UserError(
            f"encoder.prompts: every row of the training data has the prompt {rows[0]!r}, and query is {own!r}; use "
            f"'encoder.prompts={{query: {quoted(rows[0])}, ...}}', or remove the column 'prompt'"
        )
    replaced = f", in place of {own!r}" if own not in ("", rows[0]) else ""
    encoder.prompts = {**encoder.prompts, "query": rows[0]}
    return replace(split, notes=(*split.notes, f"the rows' prompt, {rows[0]!r}, is that of all queries{replaced}"))
