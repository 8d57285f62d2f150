"""What a card tells of the fit of a projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matryoshka.report.record import TrainingRecord

OF_TRAINING = {  # groups and values of the configuration that no fit reads
    "adapter",
    "sampler",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "checkpoint",
    "batch_size",
    "accumulation",
    "accumulation_across_epochs",
    "pairs_at_once",
    "tokens_at_once",
    "compiled_layers",
    "max_grad_norm",
    "not_finite",
    "skipped_at_most",
    "resume",
}


def by_descent(record: TrainingRecord) -> bool:
    """Whether a loss was descended: by a training, or by the steps of a fit; a closed form has none, a mix neither."""
    return (not record.fitted_alone and not record.mixed) or bool(fit_rows(record))


def fit_rows(record: TrainingRecord) -> list[Mapping[str, float]]:
    """The rows of the log that have a loss."""
    return [row for row in record.history if "train/loss" in row]


def kept_projection(record: TrainingRecord) -> dict[str, Any]:
    """The kind and the values of the recipe's projection; nothing of a mix, nor where another, with defaults, was kept.

    Without the learning rate at which a training goes on with it, if there was none.
    """
    values = dict(record.config.get("projection") or {})
    if "_target_" not in values or record.mixed:
        return {}
    kind = str(values.pop("_target_")).rpartition(".")[2].lower()
    if not record.fitted_alone:
        return {"kind": kind, **values}
    values.pop("lr", None)
    others = {other.model for other in record.baselines}
    return {} if f"projection ({kind})" in others else {"kind": kind, **values}


def without_training(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without what only a training reads."""
    return {name: value for name, value in config.items() if name not in OF_TRAINING}
