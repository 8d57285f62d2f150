"""A run that ends at an update which cannot be made leaves that step for study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.processes.together import from_first
from matryoshka.report.markdown import shortened
from matryoshka.report.not_finite import Row, write_step
from matryoshka.tasks.loading import TrainingData
from matryoshka.training.nonfinite import Evidence, NotFiniteError

SHOWN = 5  # rows in the message
SNIPPET = 60  # characters of a text in it


@contextmanager
def step_kept(recipe: TrainingRecipe, data: TrainingData, folder: Path) -> Iterator[None]:
    """Where a NotFiniteError ends what is done inside, write <folder>/not_finite/ and add rows and remedies to it."""
    try:
        yield
    except NotFiniteError as error:
        evidence = error.evidence
        batches = [[_row(data, row) for row in micro.rows] for micro in evidence.window]
        # The others wait: where one process of several has ended, the first would be stopped while it writes.
        kept = from_first(lambda: write_step(folder / "not_finite", evidence, batches, data.encoder))
        message = f"{error}. {_rows(evidence, batches)} {_remedies(recipe)} The step is kept in {kept}"
        raise NotFiniteError(message, evidence) from error


def _row(data: TrainingData, row: int) -> Row:
    pairs, drawn = data.split.pairs, data.batches.drawn
    texts = pairs[row] if drawn is None else drawn.texts(row, pairs)
    return {"row": data.split.place(row % len(pairs)), **texts}


def _rows(evidence: Evidence, batches: list[list[Row]]) -> str:
    rows = [row for i in (evidence.bad or range(len(batches))) for row in batches[i]]
    shown = ", ".join(f"{row['row']} ({shortened(str(row['anchor']), SNIPPET)!r})" for row in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    return f"Its rows of the training data: {shown}{more}."


def _remedies(recipe: TrainingRecipe) -> str:
    config = recipe.config
    lower = [f"a lower optimizer.lr (it is {config['optimizer'].get('lr')})"]
    if recipe.precision != "32-true":
        lower.insert(0, f"trainer.precision=32-true (it is {recipe.precision})")
    if "warmup" in config["scheduler"]:
        lower.append(f"a longer scheduler.warmup (it is {config['scheduler']['warmup']})")
    lower.append(f"a lower max_grad_norm (it is {recipe.max_grad_norm})")
    return f"What helps: {', '.join(lower)}; not_finite=skip leaves such updates out."
