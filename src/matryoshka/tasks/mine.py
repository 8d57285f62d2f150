"""Mine hard negatives for the training pairs out of their own passages. Nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.progress import Advance, progress_bar
from matryoshka.errors import UserError
from matryoshka.mining.choosing import chosen_rows
from matryoshka.mining.kept_search import KeptSearch
from matryoshka.mining.result import MiningResult
from matryoshka.mining.scored import RowSearch
from matryoshka.mining.tally import Tally
from matryoshka.processes.together import from_first, leave
from matryoshka.projection.pair_vectors import PairVectors
from matryoshka.report import files
from matryoshka.report.environment.environment import write_environment
from matryoshka.report.page.mining import write_mining_page
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.mining import show_command, show_mining
from matryoshka.storage.atomic import write_json
from matryoshka.tasks.beginning import begun, decided
from matryoshka.tasks.hub_commits import loaded
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.mined_pairs import mined_row, training_command, write_held_out, write_lines
from matryoshka.tasks.mining_start import MINED, MiningStart
from matryoshka.tasks.projecting import training_vectors
from matryoshka.tasks.row_search import TrainingTexts, announce_mining, row_search
from matryoshka.tasks.start_point import run_hash


def mine(recipe: TrainingRecipe, folder: Path) -> float:
    """Search, choose and write train.jsonl; in a folder that has it begun, go on; done, do nothing.

    Returns how many negatives there are.
    """
    began = time.perf_counter()
    with begun(recipe, folder) as (device, folder):
        start = from_first(lambda: MiningStart.of(recipe.config, folder))
        if start.finished is not None:
            return start.finished
        recipe, why_precision = decided(recipe, start.config, start.before)
        recipe, data = loaded(recipe)
        texts = TrainingTexts.of(data.split)
        from_first(partial(announce_mining, recipe, data, texts, why_precision))
        from_first(partial(begin, folder, recipe))
        vectors = embedded(recipe, data, device)
        if not leave():
            return float("nan")
        search = row_search(recipe, texts, vectors, data.encoder.name, device)
        kept = KeptSearch(folder, run_hash(recipe.config), len(texts))
        result = searched(recipe, data, texts, search, kept, folder)
        write(folder, recipe, data, replace(result, seconds=round(time.perf_counter() - began, 1)))
        kept.remove()
        return float(result.negatives)


def embedded(recipe: TrainingRecipe, data: TrainingData, device: torch.device) -> PairVectors | None:
    """The embeddings of the pairs, by all processes together; None where no encoder is asked."""
    if not recipe.mining.needs_encoder:
        return None
    encoder = data.encoder.to(device)
    return training_vectors(data, Measuring.of(recipe, encoder, recipe.dims, recipe.precision, device))


def searched(
    recipe: TrainingRecipe, data: TrainingData, texts: TrainingTexts, search: RowSearch, kept: KeptSearch, folder: Path
) -> MiningResult:
    """Search what is not searched yet and write train.jsonl; gives the numbers."""
    if kept.done:
        lines.say("resume", f"{kept.done:,} of {len(texts):,} rows are searched already")
    tally = Tally(recipe.mining, texts.candidates, texts.anchors, texts.positives, data.split.source_row)
    with progress_bar(f"searching {len(texts):,} rows", len(texts), "rows") as advance:
        write_lines(folder / "train.jsonl", mined_rows(recipe, texts, search, kept, tally, advance))
    return MiningResult(
        data=recipe.data.name,
        searched_by=" and ".join(searcher.name for searcher in search.searchers),
        scored_by=search.scorer.name,
        settings=dict(recipe.config["mining"]),
        rows=len(texts),
        per_row=recipe.mining.per_row,
        candidates=len(texts.candidates),
        held_out=texts.candidates.held_out,
        random_score=search.scorer.random,
        samples=tuple(tally.samples),
        seconds=0.0,
        **tally.numbers(),
    )


def begin(folder: Path, recipe: TrainingRecipe) -> None:
    """Write what the run is; only now, for a mistake in the data leaves no folder behind."""
    files.write_config(folder, recipe.config)
    write_environment(folder)


def mined_rows(
    recipe: TrainingRecipe, texts: TrainingTexts, search: RowSearch, kept: KeptSearch, tally: Tally, advance: Advance
) -> Iterator[dict[str, Any]]:
    """The rows of train.jsonl, counted; raises UserError if there is none."""
    mining, candidates = recipe.mining, texts.candidates
    for part in kept.searched(search, advance):
        refused_by_RD = search.thresholds.refused_by(search.scorer, part.scores_RD, part.positive_R)
        chosen = chosen_rows(part, refused_by_RD, mining, recipe.seed)
        tally.add(part, refused_by_RD, chosen)
        columns = (x.tolist() for x in (chosen.candidates_MK, chosen.scores_MK, chosen.positive_M))
        for row, found, scores, positive in zip(chosen.rows, *columns, strict=True):
            negatives = [candidates.texts[candidate] for candidate in found]
            yield mined_row(texts.anchors[row], texts.positives[row], negatives, positive, scores)
    if not tally.counts["mined"]:
        raise UserError(
            f"mining: no row has a negative that passes, of {tally.counts['considered']:,} candidates; use a higher "
            "mining.relative or mining.absolute, null for none, or a larger mining.ranks"
        )


def write(folder: Path, recipe: TrainingRecipe, data: TrainingData, result: MiningResult) -> None:
    """What is held out, the page and, at the end, the numbers; then say all of it, and how to train on it."""
    held_out = write_held_out(folder, recipe, data.split)
    command = training_command(folder, recipe, data.split, held_out)
    page = write_mining_page(folder, result, command, recipe.stand_in)
    numbers = write_json(folder / MINED, {**result.as_dict(), "command": command})
    show_mining(result)
    dev = folder / "dev.jsonl"
    written = {"pairs with negatives": folder / "train.jsonl", **({"dev pairs": dev} if dev.is_file() else {})}
    lines.show_paths({**written, "page": page, "numbers": numbers, "configuration": folder / "config.yaml"})
    show_command(command)
