"""Checks of what is asked of a projection, and of data that have vectors in place of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matryoshka.config.widths import too_wide
from matryoshka.errors import UserError

Problem = tuple[str, str]
STORED = "matryoshka.projection.stored_pairs.VectorFiles"
FITTED = "matryoshka.projection.fitted.Fitted"


def has_vectors(config: Mapping[str, Any]) -> bool:
    """Whether the data are vectors without texts, so that no encoder is looked at."""
    data = config.get("data")
    return isinstance(data, Mapping) and str(data.get("_target_")) == STORED


def projection_problems(config: Mapping[str, Any], broken: set[str]) -> Iterator[Problem]:
    """A task that cannot use the data or the projection. broken: root keys that are known to be wrong."""
    task, projection = config.get("task"), config.get("projection")
    projection = projection if isinstance(projection, Mapping) else {}
    if has_vectors(config) and task not in ("project", "curve"):
        yield "data", "vectors without texts can only be projected: python train.py task=project data=vectors ..."
    if has_vectors(config) and config.get("sets"):
        yield "sets", "are of texts, and the data are vectors without an encoder; use sets=none"
    if task == "curve" and "shares" not in broken:
        yield from _share_problems(config["shares"])
    if "projection" in broken:
        return
    if task == "curve" and projection.get("_target_") == FITTED:
        yield "projection", "a fitted matrix is the same for any number of pairs; use projection=learned"
        return
    if task == "project" and not projection and not config.get("projections"):
        yield (
            "projection",
            "nothing is fitted; use projection=learned, or projections=[pca,rotation,learned]",
        )
    if task == "train" and projection.get("side") == "query":
        yield "projection.side", "a model that is trained has one matrix for both sides; use side=both, or task=project"
    if projection.get("_target_") == FITTED:
        yield from _fitted_problems(str(projection.get("run")), config.get("dims") or [], str(task))


def stored_width_problems(dims: Sequence[int], source: Any) -> Iterator[Problem]:
    """Dims wider than the stored vectors, where their files can be read."""
    try:
        width = source.width
    except UserError:  # said already
        return
    yield from too_wide(dims, width, "the vectors'")


def _share_problems(shares: Sequence[float]) -> Iterator[Problem]:
    """Shares of which no curve can be drawn."""
    if len(set(shares)) < len(shares):
        yield "shares", f"{list(shares)} names one twice; use shares=[0.25,0.5,1.0]"
    elif len(shares) < 2:
        yield "shares", f"{list(shares)} are too few to tell what more pairs gain; use shares=[0.5,1.0]"


def _fitted_problems(run: str, dims: Sequence[int], task: str) -> Iterator[Problem]:
    from matryoshka.projection.saved import SavedProjection

    try:
        saved = SavedProjection.read(run)
    except UserError as error:
        yield "projection.run", str(error)
        return
    if task == "train" and saved.side == "query":
        yield "projection.run", f"{run} has a matrix for queries alone; a model that is trained has one for both sides"
    for i, dim in enumerate(dims):
        if dim > saved.full:
            yield f"dims[{i}]", f"{dim} is wider than the {saved.full} numbers of projection.run={run}"
