"""After the last update: the best weights, what they are worth, and everything a run leaves."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import ModelCheckpoint

from matryoshka.distributed.together import broadcast_state, from_first
from matryoshka.encoder.encoder import Encoder
from matryoshka.module import EmbeddingModule
from matryoshka.report import files
from matryoshka.report.environment import environment
from matryoshka.report.record import EncoderSummary, TrainingRecord
from matryoshka.report.summary import show_training
from matryoshka.retrieval.deployment import Deployment
from matryoshka.retrieval.failures import find_failures
from matryoshka.retrieval.result import EvaluationResult
from matryoshka.tasks.baselines import Before
from matryoshka.tasks.loading import Loaded
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.setup import stand_in

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Best:
    """The update whose weights were kept, and the selecting metric's value that made them the best."""

    step: int
    value: float


def restore_best(checkpoint: ModelCheckpoint, module: EmbeddingModule) -> Best:
    """Load the best weights: from the first process's disk, which need not be the others'."""

    def load() -> Best:
        best = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
        assert checkpoint.best_model_score is not None
        return Best(int(best["global_step"]), float(checkpoint.best_model_score))

    best = from_first(load)
    broadcast_state(module)
    return best


def training_record(
    config: Config, room: Loaded, measuring: Measuring, before: Before, best: Best, tuned: EvaluationResult
) -> TrainingRecord:
    """What came of it: the restored weights measured on the test queries, beside what was measured before."""
    assert tuned.rankings is not None
    return TrainingRecord(
        name=config["name"],
        base_model=room.encoder.name,
        stand_in=stand_in(config),
        encoder=EncoderSummary.of(room.encoder),
        pairs=room.pairs,
        batches=room.batch_summary,
        base=before.base,
        tuned=tuned,
        selected=measuring.selected,
        selected_value=best.value,
        saved_step=best.step,
        config=config,
        environment=environment(),
        split=room.split.label,
        dev_base=before.dev_base,
        baselines=before.baselines,
        failures=find_failures(tuned.rankings, config["dims"]),
    )


def what_to_deploy(room: Loaded, measuring: Measuring) -> Deployment | None:
    """What to deploy, chosen on the dev queries where there are some, measured on the test queries; None: not told."""
    measured = measuring.deployment(room.test, room.passages)
    chosen = measuring.deployment(room.dev, room.passages) if room.dev and measured else None
    return measured.chosen_by(chosen) if measured and chosen else measured


def write(folder: Path, record: TrainingRecord, encoder: Encoder, trainer: pl.Trainer) -> None:
    """Every file of the run, the trackers' last words, and the table at its end."""
    exporter = instantiate(record.config["export"], _convert_="all") if record.config["export"] else None
    written = files.write_training(folder, record, encoder, exporter)
    shutil.rmtree(folder / "checkpoints")  # model/ has the same weights; without an export none were wanted
    for logger in trainer.loggers:
        if hasattr(logger, "finish_record"):
            logger.finish_record(record, folder)
    show_training(record, written)
