"""The models that are mixed: each is read once, compared with the others, and written as a file of weights."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from matryoshka.config.mixing import model_named
from matryoshka.config.recipe import TrainingRecipe
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.model_folder import read_json
from matryoshka.encoder.structure import Structure
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import kept_layers
from matryoshka.processes.together import from_first, is_first
from matryoshka.report.files import FINISHED
from matryoshka.storage.atomic import UNFINISHED, saying_if_full
from matryoshka.tasks.finished_run import kept_projection
from matryoshka.training.checkpoints.weights_file import write_weights

THIS = "this recipe's encoder"
REMEDY = "mix runs of one recipe, and give the words of their commands"


@dataclass(frozen=True)
class Sources:
    """Models whose weights can be mixed. names: a hub model's with its commit. files: of their weights, in order.

    dense: the layers behind the pooling that all of them have, with the values of one of them. untrained: the file of
    the recipe's encoder as it is, where it may be kept.
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    dense: tuple[Dense, ...]
    untrained: Path | None


@contextmanager
def sources_of(recipe: TrainingRecipe, encoder: Encoder, folder: Path) -> Iterator[Sources]:
    """The recipe's models as files in a folder below the run's, on the first process's disk; removed at the end.

    Raises UserError for models that cannot be mixed, and for dims that they do not have.
    """
    if not is_first():
        yield _wide_enough(recipe, from_first(_never))
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".sources{UNFINISHED}") as work:
        yield _wide_enough(recipe, from_first(lambda: write_sources(recipe, encoder, Path(work))))


def _never() -> Sources:
    raise AssertionError("only the first process has the files")


def _wide_enough(recipe: TrainingRecipe, sources: Sources) -> Sources:
    width = sources.dense[-1].width if sources.dense else None
    if width is not None and (widest := max(recipe.dims)) > width:
        raise UserError(f"dims: {widest} is wider than the {width} numbers of the models in runs; use dims up to that")
    return sources


def write_sources(recipe: TrainingRecipe, encoder: Encoder, folder: Path) -> Sources:
    """Files in the folder, each model read by itself; one run alone is joined by the encoder that it began with.

    Raises UserError for two that differ in more than the values of their weights.
    """
    own, untrained = Structure.of(encoder), None
    if recipe.blend and recipe.weights is None:
        untrained = _write(folder / "untrained.safetensors", encoder.state_dict())
    found: list[_Read] = []
    for number, run in enumerate(recipe.runs):
        found.append(_read(recipe, run, folder / f"{number}.safetensors"))
        gc.collect()  # a model is part of circles, and only one may be there beside the recipe's
        _require_alike((run, found[-1].structure), (THIS, own), dense=False)
        _require_alike((recipe.runs[0], found[0].structure), (run, found[-1].structure))
    names, files = [read.name for read in found], [read.file for read in found]
    if len(found) == 1:
        names.append(f"{encoder.name} before training")
        files.append(_write_start(recipe.runs[0], encoder, found[0], folder / "start.safetensors"))
    return Sources(tuple(names), tuple(files), found[0].dense, untrained)


@dataclass(frozen=True)
class _Read:
    name: str
    file: Path
    structure: Structure
    dense: tuple[Dense, ...]


def _read(recipe: TrainingRecipe, run: str, file: Path) -> _Read:
    model = model_named(run, recipe.config["encoder"])
    encoder = model.load(None)
    name = f"{model.model}@{encoder.revision}" if encoder.revision else run
    layers = tuple(cast(Dense, layer) for layer in encoder.dense)
    return _Read(name, _write(file, encoder.state_dict()), Structure.of(encoder), layers)


def _write_start(run: str, encoder: Encoder, of_run: _Read, file: Path) -> Path:
    """What the run began with: the encoder, and the projection as it was fitted, if the run has one; cut as the run is.

    Raises UserError for a run whose projection is not to be found.
    """
    before = encoder.dense
    try:
        if len(of_run.dense) > len(before):
            encoder.dense = nn.Sequential(*before, *_fitted(run))
        width = of_run.dense[-1].width if of_run.dense else encoder.width
        encoder.dense = nn.Sequential(*kept_layers(encoder, min(width, encoder.width)))
        _require_alike((run, of_run.structure), (f"{THIS} with the run's projection", Structure.of(encoder)))
        return _write(file, encoder.state_dict())
    finally:
        encoder.dense = before


def _fitted(run: str) -> Sequence[Dense]:
    """The run's projection, as a layer; nothing where the layers behind its pooling are an export's cut alone."""
    folder = Path(run).expanduser()
    for place in (folder, folder.parent):
        facts = read_json(place / FINISHED) if (place / FINISHED).is_file() else {}
        if saved := kept_projection(place, facts):
            return [Dense.of(torch.from_numpy(saved.matrix_DE))]
    return []


def _require_alike(one: tuple[str, Structure], other: tuple[str, Structure], *, dense: bool = True) -> None:
    """Raises UserError that names the two and what differs."""
    if differences := list(one[1].differences(other[1], dense=dense)):
        lines = "\n".join(f"  {difference}" for difference in differences)
        raise UserError(f"runs: {one[0]} and {other[0]} cannot be mixed, for they differ; {REMEDY}:\n{lines}")


def _write(file: Path, weights: Mapping[str, Tensor]) -> Path:
    needed = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    with saying_if_full(file, needed), file.open("wb") as opened:
        write_weights(opened, weights)
    return file
