"""Fit projections on embeddings that stay as they are: encode once, fit, choose, measure, write. No fine-tuning."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.encoder import Encoder
from matryoshka.processes.together import from_first, is_first, leave
from matryoshka.projection.saved import FILE, SavedProjection
from matryoshka.projection.stored_pairs import VectorFiles
from matryoshka.report import files
from matryoshka.report.environment.environment import write_environment
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal.kinds import show_kinds
from matryoshka.report.terminal.summary import show_training
from matryoshka.tasks.baselines import measure_baselines
from matryoshka.tasks.beginning import begun, decided
from matryoshka.tasks.first_lines import announce_frozen, announce_vectors
from matryoshka.tasks.frozen import Frozen
from matryoshka.tasks.hub_commits import loaded
from matryoshka.tasks.kinds import fit_kinds, measured_kinds, without_rankings
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.projected_record import projected_record
from matryoshka.tasks.projecting import put_behind
from matryoshka.tasks.pushing import push_model
from matryoshka.tasks.trainer import closed_if_failed, finish, make_loggers
from matryoshka.training.device import device_of


def project(recipe: TrainingRecipe, folder: Path) -> float:
    """Fit the recipe's projection and those beside it; keep the one that the choosing queries like best.

    Returns the mean over dims of the selecting metric on these queries.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        _, folder = stack.enter_context(begun(recipe, folder))
        recipe, why = decided(recipe, recipe.config)
        recipe, data, frozen, measuring = read(recipe, why)
        fits = from_first(partial(fit_kinds, recipe, frozen))
        if is_first():
            files.write_config(folder, recipe.config)
            write_environment(folder)
            if len(fits) == 1:  # nothing has to be measured to choose it
                fits[0].saved.write(folder)
        base = frozen.measured(frozen.test, recipe)
        baselines = measure_baselines(recipe, data.test, measuring) if data and measuring else ()
        kinds = from_first(partial(measured_kinds, recipe, frozen, fits), without_rankings)
        if leave():
            model = model_of(data, kinds[0].saved)
            loggers = make_loggers(recipe, folder)
            stack.enter_context(closed_if_failed(loggers))
            show_kinds(base, [(kind.title, kind.test) for kind in kinds], baselines, recipe.evaluator.metric)
            record = projected_record(recipe, data, frozen, kinds, base, baselines, time.perf_counter() - began)
            for logger in loggers:
                for row in record.history:
                    logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))
            write(folder, recipe, record, kinds[0].saved, model)
            finish(loggers, record, folder)
        return kinds[0].value


def read(
    recipe: TrainingRecipe, why_precision: str, require: Callable[[int], object] = bool
) -> tuple[TrainingRecipe, TrainingData | None, Frozen, Measuring | None]:
    """All embeddings, and the texts and their encoder if there are any; the recipe with the commits that were read.

    require: gets the number of training pairs before anything is encoded, and raises where there are too few.
    """
    if isinstance(recipe.data, VectorFiles):
        split = recipe.split.split(recipe.data)
        require(len(split.pairs))
        from_first(partial(announce_vectors, recipe, split))
        return recipe, None, Frozen.of_files(recipe.data, split), None
    recipe, data = loaded(recipe, lambda data: require(len(data.split.pairs)))
    from_first(partial(announce_frozen, recipe, data, why_precision))
    encoder = data.encoder.to(device := device_of(recipe.accelerator, recipe.devices))
    measuring = Measuring.of(recipe, encoder, recipe.dims, recipe.precision, device)
    return recipe, data, Frozen.of_texts(data, measuring), measuring


def model_of(data: TrainingData | None, saved: SavedProjection) -> Encoder | None:
    """The encoder with the projection behind it; None of vectors, and of one for queries alone: no model has two."""
    if data is None or saved.side != "both":
        return None
    put_behind(data.encoder, saved)
    return data.encoder.cpu()


def write(
    folder: Path, recipe: TrainingRecipe, record: TrainingRecord, saved: SavedProjection, model: Encoder | None
) -> None:
    """The matrix, the encoder with it as a model, every figure, and the table at the end."""
    if not (folder / FILE).is_file():  # the only one that was fitted is there since then
        saved.write(folder)
    written = files.write_training(folder, record, model, recipe.export)
    written = {"projection": folder / "projection.safetensors", "how to apply it": folder / "projection.md"} | written
    show_training(record, written)
    push_model(recipe, folder)
