"""Everything a run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from matryoshka.atomic import write_atomically
from matryoshka.report.card import model_card
from matryoshka.report.figure import metric_against_dim, save_figure
from matryoshka.report.record import TrainingRecord
from matryoshka.retrieval.result import EvaluationResult

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder


class Exporter(Protocol):
    """Writes a model folder."""

    def save(self, encoder: Encoder, folder: Path) -> Path:
        """Write the encoder into the folder and return it."""


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    """config.yaml: the configuration with every value resolved, `auto` precision included."""
    return write_atomically(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))


def write_result(folder: Path, result: EvaluationResult, name: str = "results") -> Path:
    """<name>.json: one EvaluationResult."""
    return write_atomically(folder / f"{name}.json", json.dumps(result.as_dict(), indent=2) + "\n")


def write_figure(folder: Path, tuned: EvaluationResult, base: EvaluationResult | None, note: str = "") -> list[Path]:
    """metric_against_dim.png and .svg: nDCG@10 where it was measured, else the first metric."""
    names = list(tuned.metrics[tuned.dims[0]])
    metric = "ndcg@10" if "ndcg@10" in names else names[0]
    return save_figure(metric_against_dim(tuned, base, metric=metric, note=note), folder / "metric_against_dim")


def write_training(
    folder: Path, record: TrainingRecord, encoder: Encoder, exporter: Exporter | None
) -> dict[str, Path]:
    """What a training run leaves, by what it is: results, figure and, where it is exported, the model with its card."""
    written = {
        "results": write_result(folder, record.tuned),
        "base results": write_result(folder, record.base, "base"),
        "run": _write_run(folder, record),
        "every logged value": folder / "metrics.jsonl",
        "configuration": folder / "config.yaml",
        "figure": write_figure(folder, record.tuned, record.base, "; ".join(record.stand_in))[0],
    }
    if exporter is not None:
        written["model"] = exporter.save(encoder, folder / "model")
        written["model card"] = write_atomically(folder / "model" / "README.md", model_card(record))
    return written


def _write_run(folder: Path, record: TrainingRecord) -> Path:
    """run.json: what the run was, how long it took, on what."""
    facts = {
        "name": record.name,
        "stand_in": list(record.stand_in),
        "training_pairs": record.pairs.rows,
        "batches": asdict(record.batches),
        "updates": record.updates,
        "saved_step": record.saved_step,
        "selected": record.selected,
        "seconds": round(record.seconds, 1),
        "environment": dict(record.environment),
    }
    return write_atomically(folder / "run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
