"""A training run of a second: 28 pairs in batches of 4, three epochs, two micro-batches an update."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from datasets import Dataset
from pytorch_lightning.loggers import Logger

from matryoshka.data.samplers import ShuffledSampler
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training import schedulers
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan
from tests.tiny import tiny_encoder

LIGHTNINGS_ADVICE = ("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*Checkpoint dir.*")
PAIRS = Dataset.from_dict(
    {
        "anchor": [[0, 4 + i, 5, 2] for i in range(28)],
        "positive": [[0, 34 + i, 6, 4 + i, 2] for i in range(28)],
    }
)
UPDATES = 9  # 7 micro-batches an epoch: 7 // 2 updates each
AT_EPOCH_ENDS = [3, 7, 9]  # a window runs on into the second epoch; the third stops at the last update


def small_module(log_every: int = 2) -> tuple[EmbeddingModule, PairsModule]:
    data = PairsModule(PAIRS, partial(ShuffledSampler, batch_size=4, seed=0))
    plan = TrainingPlan(data.micro_batches(3), 2, "carry")
    loss = MatryoshkaLoss(RankingLoss(), [32, 8])
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    return EmbeddingModule(tiny_encoder(), loss, plan, optimizer, schedulers.cosine, log_every=log_every), data


def fit(
    module: EmbeddingModule,
    data: PairsModule,
    folder: Path,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    **options: Any,
) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        max_steps=module.plan.updates,
        logger=list(loggers),
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks),
        log_every_n_steps=1,  # only so that Lightning does not warn of short epochs: the module logs by updates
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(module, data)
    return trainer
