"""The recipe's projection: fitted on the embeddings of the untrained encoder, kept in the run's folder, measured."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.durations import in_words
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.encoder import Encoder
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.evaluation.fingerprint import weights_fingerprint
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.processes.together import from_first, is_first
from matryoshka.projection.pair_vectors import PairVectors
from matryoshka.projection.projection import Log, Projection
from matryoshka.projection.saved import FILE, SavedProjection
from matryoshka.report.terminal import lines
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.make_loss import make_loss
from matryoshka.tasks.measuring import Measuring, drawn_for_calibration
from matryoshka.tasks.pair_texts import encoded_columns


def put_projection(
    recipe: TrainingRecipe, data: TrainingData, measuring: Measuring, folder: Path, *, goes_on: bool
) -> EvaluationResult | None:
    """Put the recipe's projection behind the pooling; returns what it gives alone on the test queries.

    None without one. goes_on: a run that goes on has the one that it began with.
    """
    if recipe.projection is None:
        return None
    encoder, kept = measuring.encoder, goes_on and (folder / FILE).is_file()
    saved = from_first(lambda: SavedProjection.read(folder) if kept else None)
    if saved is None:
        pairs = training_vectors(data, measuring)
        fitted = partial(fit, recipe.projection, recipe, pairs, encoder.name)
        saved = from_first(fitted)
        if is_first():
            saved.write(folder)
    put_behind(encoder, saved)
    encoder.dense[-1].requires_grad_(recipe.projection.lr is not None)
    alone = measuring.measure(data.test, OnDisk())
    return replace(alone, model=title(recipe.projection), rankings=None)


def put_behind(encoder: Encoder, saved: SavedProjection) -> None:
    """Let the encoder end in the matrix."""
    encoder.dense.append(Dense.of(torch.from_numpy(saved.matrix_DE)).to(encoder.device))


def training_vectors(data: TrainingData, measuring: Measuring) -> PairVectors:
    """The embeddings of the pairs' distinct texts, each encoded once and found again by the next fit."""
    columns = encoded_columns(data.batches.pairs, ("anchor", "positive"), measuring)
    (anchors_AD, anchor_N), (positives_PD, positive_N) = columns
    vectors = PairVectors(anchors_AD, positives_PD, anchor_N, positive_N, weights_fingerprint(measuring.encoder))
    vectors.require_usable()
    return vectors


def fit(
    projection: Projection, recipe: TrainingRecipe, pairs: PairVectors, encoder: str = "", log: Log | None = None
) -> SavedProjection:
    """The matrix with everything that whoever applies it must know; a line says what it was fitted on.

    encoder: the name of the one that the vectors are of.
    """
    start = time.perf_counter()
    loss = copy.deepcopy(make_loss(recipe)).eval()  # all dims at every step, and no state of the training's changes
    matrix_DE = projection.fit(pairs, loss, recipe.seed, log)
    took = in_words(time.perf_counter() - start)
    few = f", fewer than the {pairs.width} numbers of a vector: more would help" if len(pairs) < pairs.width else ""
    lines.say("project", f"{projection.kind}: fitted in {took} on {len(pairs):,} pairs{few}")
    return SavedProjection(
        matrix_DE.numpy(),
        _calibration(pairs, matrix_DE if projection.side == "both" else None).numpy(),
        kind=projection.kind,
        side=projection.side,
        encoder=encoder,
        fingerprint=pairs.fingerprint,
        dims=tuple(dim for dim in recipe.dims if dim <= pairs.width),
        pairs=len(pairs),
    )


def title(projection: Projection) -> str:
    """What tables call the encoder behind the projection alone."""
    return f"projection ({projection.kind}{', queries alone' if projection.side == 'query' else ''})"


def _calibration(pairs: PairVectors, matrix_DE: Tensor | None) -> Tensor:
    """Some of the training passages, behind the matrix."""
    rows = pairs.positive_N[torch.tensor(drawn_for_calibration(len(pairs)))]
    passages_MD = pairs.positives_PD[rows].float()
    return passages_MD if matrix_DE is None else passages_MD @ matrix_DE
