"""Whether a cross-encoder can be had, before anything of it is loaded. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matryoshka.encoder.hub_model import hub_folder
from matryoshka.encoder.model_folder import TRUST
from matryoshka.encoder.pretrained import EMBEDDED, Pretrained
from matryoshka.encoder.weight_files import READ_PICKLED
from matryoshka.errors import UserError

HEAD = "ForSequenceClassification"


def cross_encoder_problems(name: str) -> Iterator[str]:
    """Why no pairs can be scored by the model of this name: a folder, or a hub name, its revision after an @."""
    if name == EMBEDDED:
        yield f"{name} is no cross-encoder; give a folder or a hub name, or null"
        return
    model = Pretrained.named(name)
    if found := [message for _, message in model.problems()]:
        other = "use another cross-encoder, or null"
        yield from (message.replace(TRUST, other).replace(READ_PICKLED, other) for message in found)
        return
    yield from _head_problems(name, model.config)


def cross_encoder_folder(name: str) -> Path:
    """The folder with its files, fetched first if it is of the hub and not at hand. Raises UserError."""
    model = Pretrained.named(name)
    folder = model.folder or hub_folder(model.model, model.revision, code=False)
    for message in cross_encoder_problems(str(folder)):
        raise UserError(f"mining.cross_encoder: {message}")
    return folder


def _head_problems(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    kinds = config.get("architectures") or []
    if not any(str(kind).endswith(HEAD) for kind in kinds):
        what = ", ".join(map(str, kinds)) or "no architecture"
        yield f"{name} has no head that scores pairs ({what}, not ...{HEAD}); give a cross-encoder, or null"
        return
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, Mapping) else int(config.get("num_labels") or 2)
    if count != 1:
        yield f"{name} tells {count} labels apart and has not one score; give a cross-encoder with one label, or null"
