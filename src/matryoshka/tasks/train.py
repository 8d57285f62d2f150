"""Train, measure, save: the recipe from a checked configuration to a folder of results."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import ModelCheckpoint

from matryoshka.datamodule import PairsModule
from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.memory.available import available
from matryoshka.module import EmbeddingModule
from matryoshka.plan import TrainingPlan
from matryoshka.report import files, terminal
from matryoshka.report.doctor import show_diagnosis
from matryoshka.report.environment import environment
from matryoshka.report.record import EncoderSummary, TrainingRecord
from matryoshka.report.result_table import show_protocols, show_result
from matryoshka.report.summary import show_training
from matryoshka.retrieval.embeddings import OnDisk
from matryoshka.retrieval.failures import find_failures
from matryoshka.tasks.baselines import measure_baselines
from matryoshka.tasks.loading import load
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.setup import (
    compact_vocabulary,
    device_of,
    memory_needed,
    nested_dims,
    quiet_libraries,
    stand_in,
    with_precision,
)
from matryoshka.tasks.trainer import fit, make_trainer

Config = Mapping[str, Any]

OPTIONAL: Config = {
    "logger": None,
    "export": None,
    "pooling": None,
    "dim_weights": None,
    "dims_per_step": None,
    "pairs_at_once": None,
    "reference": {},
    "baselines": [],
    "compact_vocabulary": True,
}


def train(config: Config, folder: Path) -> float:
    """Run the configuration and write everything into the folder.

    Returns the selecting metric of the kept weights, on the queries that selected them: a sweep goes by it.
    """
    start = time.perf_counter()
    quiet_libraries()
    config, reason = with_precision({**OPTIONAL, **config, **nested_dims(config)})
    pl.seed_everything(config["seed"], verbose=False)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # tf32, as in the card's run

    room = load(config)
    files.write_config(folder, config)  # only now: a mistake in data or model leaves no folder behind
    plan = _plan(config, room.batches)
    diagnosis = room.examine(instantiate(config["doctor"], _convert_="all"))
    terminal.announce(config, room.encoder, room.pairs, room.split, plan, reason, stand_in(config))
    show_diagnosis(diagnosis, brief=True)
    terminal.show_batches(room.batch_summary, room.batches.sampler.mask_clashes)
    device = device_of(config["trainer"].get("accelerator", "auto"))
    measuring = Measuring.of(config, room.encoder, config["dims"], config["trainer"]["precision"], device)
    needed = memory_needed(config, room, _loss(config), measuring.evaluator.token_budget)
    terminal.show_memory(needed, available(device, room.encoder), config)

    on_dev = "dev/" if room.dev else ""
    measure = partial(measuring.measure, room.selecting)
    trainer, log, checkpoint = make_trainer(config, folder, plan, measuring.selected, measure, on_dev)
    room.encoder.to(trainer.strategy.root_device)
    base = measuring.measure(room.test, OnDisk())  # other runs begin with these weights too
    dev_base = measuring.measure(room.dev, OnDisk()) if room.dev else None
    at_start = base.flat() | {f"dev/{name}": value for name, value in (dev_base.flat() if dev_base else {}).items()}
    log.log_metrics({**at_start, "epoch": 0.0}, step=0)
    baselines = measure_baselines(config, room.test.judgements, measuring)
    show_result(base, None, title="base (untrained), on the test queries", baselines=baselines)
    show_protocols(base)
    terminal.show_estimate(base, room.selecting, room.pairs, plan, config["batch_size"])

    terminal.say("tokens", compact_vocabulary(config, room.encoder, room.used_tokens))
    module = _module(config, room.encoder, plan)
    fit(trainer, module, room.batches)
    saved_step = _restore(checkpoint, module)
    room.encoder.to(trainer.strategy.root_device)
    tuned = measuring.measure(room.test)
    assert tuned.rankings is not None and checkpoint.best_model_score is not None
    deployment = measuring.deployment(room.test, room.passages)
    record = TrainingRecord(
        name=config["name"],
        base_model=room.encoder.name,
        stand_in=stand_in(config),
        encoder=EncoderSummary.of(room.encoder),
        pairs=room.pairs,
        batches=room.batch_summary,
        base=base,
        tuned=tuned,
        selected=measuring.selected,
        selected_value=float(checkpoint.best_model_score),
        history=tuple(log.rows),
        saved_step=saved_step,
        updates=plan.updates,
        config=config,
        environment=environment(),
        seconds=time.perf_counter() - start,
        split=room.split.label,
        dev_base=dev_base,
        baselines=baselines,
        diagnosis=diagnosis,
        deployment=deployment,
        failures=find_failures(tuned.rankings, config["dims"]),
    )
    room.encoder.whole_vocabulary()
    _write(folder, record, room.encoder.cpu(), trainer)
    return float(checkpoint.best_model_score)


def _restore(checkpoint: ModelCheckpoint, module: EmbeddingModule) -> int:
    """Load the best weights; returns the update that they are of."""
    best = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    return int(best["global_step"])


def _plan(config: Config, batches: PairsModule) -> TrainingPlan:
    trainer = config["trainer"]
    counts = batches.micro_batches(trainer["max_epochs"], trainer.get("limit_train_batches"))
    return TrainingPlan(counts, config["accumulation"], config["accumulation_across_epochs"])


def _loss(config: Config) -> MatryoshkaLoss:
    loss = instantiate(config["loss"], _convert_="all")
    return MatryoshkaLoss(loss, config["dims"], config["dim_weights"], config["dims_per_step"], config["seed"])


def _module(config: Config, encoder: Encoder, plan: TrainingPlan) -> EmbeddingModule:
    return EmbeddingModule(
        encoder,
        _loss(config),
        plan,
        instantiate(config["optimizer"], _convert_="all"),
        instantiate(config["scheduler"], _convert_="all"),
        config["max_grad_norm"],
        config["trainer"].get("log_every_n_steps") or 10,
        config["pairs_at_once"],
    )


def _write(folder: Path, record: TrainingRecord, encoder: Encoder, trainer: pl.Trainer) -> None:
    exporter = instantiate(record.config["export"], _convert_="all") if record.config["export"] else None
    written = files.write_training(folder, record, encoder, exporter)
    shutil.rmtree(folder / "checkpoints")  # model/ has the same weights; without an export none were wanted
    for logger in trainer.loggers:
        if hasattr(logger, "finish_record"):
            logger.finish_record(record, folder)
    show_training(record, written)
