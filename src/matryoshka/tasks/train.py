"""Train, measure, save: the recipe from a checked configuration to a folder of results."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from matryoshka.data.samplers import BatchSummary
from matryoshka.data.tokens import tokenized_pairs
from matryoshka.datamodule import PairsModule
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.memory.available import available
from matryoshka.module import EmbeddingModule
from matryoshka.plan import TrainingPlan
from matryoshka.report import files, terminal
from matryoshka.report.environment import environment
from matryoshka.report.record import EncoderSummary, PairsSummary, TrainingRecord
from matryoshka.retrieval.embeddings import InMemory, OnDisk
from matryoshka.retrieval.evaluation import Evaluator
from matryoshka.retrieval.tokenized_set import TokenizedSet
from matryoshka.tasks.setup import (
    compact_vocabulary,
    device_of,
    load_encoder,
    memory_needed,
    nested_dims,
    pairs_summary,
    quiet_libraries,
    stand_in,
    tokenized_set,
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
    "compact_vocabulary": True,
}


def train(config: Config, folder: Path) -> float:
    """Run the configuration and write everything into the folder; returns the selecting metric of the kept weights."""
    start = time.perf_counter()
    quiet_libraries()
    config, reason = with_precision({**OPTIONAL, **config, **nested_dims(config)})
    pl.seed_everything(config["seed"], verbose=False)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # tf32, as in the card's run

    room = _load(config)
    files.write_config(folder, config)  # only now: a mistake in data or model leaves no folder behind
    plan = _plan(config, room.batches)
    terminal.announce(config, room.encoder, room.summary, room.held_out.data, plan, reason, stand_in(config))
    terminal.show_batches(room.batch_summary, room.batches.sampler.mask_clashes)
    device = device_of(config["trainer"].get("accelerator", "auto"))
    evaluator: Evaluator = instantiate(config["evaluator"], _convert_="all")
    needed = memory_needed(config, room.encoder, _loss(config), room.batches, room.held_out, evaluator.token_budget)
    terminal.show_memory(needed, available(device, room.encoder), config)

    precision: Precision = "bf16" if "bf16" in config["trainer"]["precision"] else "fp32"
    how = {"dims": config["dims"], "precision": precision, "progress": True, "store": InMemory()}
    measure = partial(evaluator.evaluate, room.encoder, room.held_out, **how)
    selected = evaluator.selected(config["dims"])
    trainer, log, checkpoint = make_trainer(config, folder, plan, selected, measure)
    room.encoder.to(trainer.strategy.root_device)
    base = measure(store=OnDisk())  # other runs begin with these weights too
    log.log_metrics({**base.flat(), "epoch": 0.0}, step=0)
    terminal.show_result(base, None, title="base (untrained)")
    terminal.show_estimate(base, room.summary, plan, config["batch_size"])

    terminal.say("tokens", compact_vocabulary(config, room.encoder, room.batches.pairs, room.held_out))
    module = _module(config, room.encoder, plan)
    fit(trainer, module, room.batches)
    best = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    room.encoder.to(trainer.strategy.root_device)
    record = TrainingRecord(
        name=config["name"],
        base_model=room.encoder.name,
        stand_in=stand_in(config),
        encoder=EncoderSummary.of(room.encoder),
        pairs=room.summary,
        batches=room.batch_summary,
        base=base,
        tuned=measure(),
        selected=selected,
        history=tuple(log.rows),
        saved_step=best["global_step"],
        updates=plan.updates,
        config=config,
        environment=environment(),
        seconds=time.perf_counter() - start,
    )
    room.encoder.whole_vocabulary()
    _write(folder, record, room.encoder.cpu(), trainer)
    return record.tuned.flat()[selected]


@dataclass(frozen=True)
class _Loaded:
    """What a run reads: the encoder, its training batches, and what it is measured on."""

    encoder: Encoder
    batches: PairsModule
    held_out: TokenizedSet
    summary: PairsSummary
    batch_summary: BatchSummary


def _load(config: Config) -> _Loaded:
    source = instantiate(config["data"], _convert_="all")
    pairs, held_out = source.training_pairs(), source.retrieval_set()
    encoder = load_encoder(config)
    prompts = {name: encoder.prompts["query" if name == "anchor" else "document"] for name in pairs.column_names}
    tokens = tokenized_pairs(pairs, encoder.tokenizer, encoder.max_seq_length, prompts)
    batches = PairsModule(tokens, instantiate(config["sampler"], _partial_=True, _convert_="all"), texts=pairs)
    texts = tokenized_set(encoder, held_out)
    return _Loaded(encoder, batches, texts, pairs_summary(source.name, pairs, tokens), batches.sampler.summary())


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
    terminal.show_training(record, written)
