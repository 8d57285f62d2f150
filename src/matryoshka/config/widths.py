"""Checks of what is asked of the encoder's width: by dims, by a pooling before Dense modules, by the export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException

from matryoshka.config.pooling_modes import POOLING
from matryoshka.config.recipe import created
from matryoshka.encoder.encoder_half import hidden_size
from matryoshka.errors import UserError


def width_problems(dims: Sequence[int], encoder: Any, pooling: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Dims wider than the embeddings, and a pooling that Dense modules do not take, where files tell the width."""
    try:
        settings, hidden = encoder.settings, hidden_size(encoder.config)
        modes = pooling.get("modes") or settings.pooling or ["cls"]
        ours = pooling.get("_target_", POOLING) == POOLING
        count = len(set(modes)) if ours else created(pooling).factor
        if settings.dense:
            width = settings.dense[-1].out_features
        elif hidden is None:
            return
        else:
            width = hidden * count
    except (UserError, AttributeError, TypeError, InstantiationException):  # said already, or of another kind
        return
    try:
        settings.require_width(hidden, count)
    except UserError as error:
        yield "pooling", f"{error}, or pooling=saved"
    yield from too_wide(dims, width, "the encoder's")


def too_wide(dims: Sequence[int], width: int, whose: str) -> Iterator[tuple[str, str]]:
    """Dims wider than this width. whose: as in "the encoder's"."""
    fitting = sorted({width, *(dim for dim in dims if 1 <= dim <= width)}, reverse=True)
    for i, dim in enumerate(dims):
        if dim > width:
            yield f"dims[{i}]", f"{dim} is wider than {whose} {width}; use dims={listed(fitting)}"


def cut_problems(dim: int | None, dims: Sequence[int]) -> Iterator[tuple[str, str]]:
    """More numbers to be saved than the widest dim that is trained has."""
    if dim is not None and dims and dim > max(dims):
        yield "export.dim", f"{dim} is wider than the dims that are trained; use at most export.dim={max(dims)}"


def listed(values: Any) -> str:
    """A list as a command line has it."""
    return "[" + ",".join(map(str, values)) + "]"
