"""One training run twice: through our Trainer set-up, and through sentence-transformers' own Trainer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.data.samplers import NoDuplicatesSampler
from matryoshka.data.tokens import tokenized_pairs
from matryoshka.encoder import Encoder
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.losses.ranking import Direction
from matryoshka.training import schedulers
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan
from tests.parity.two_encoders import PROMPTS, backbone_of
from tests.training.callbacks.small import fit

Batch = tuple[tuple[tuple[int, ...], ...], ...]  # the token ids of each text of each column


@dataclass(frozen=True)
class Recipe:
    """What both sides are told."""

    dims: Sequence[int]
    weights: Sequence[float] | None = None
    dims_per_step: int | None = None
    negatives: bool = False  # a hard one for each pair
    direction: Direction = "anchor_to_positive"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-5
    eps: float = 1e-8
    epochs: int = 3
    batch_size: int = 8
    accumulation: int = 2
    seed: int = 1


@dataclass
class Trained:
    """What a run leaves behind: its micro-batches, numbers of each update, and the model's weights."""

    batches: list[Batch] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)


class Noted(pl.Callback):
    """Notes the batches that the module is given."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        assert isinstance(batch, PackedBatch)
        texts = iter(tuple(ids.tolist()) for ids in batch.input_ids_T.split(list(batch.lengths)))
        self.batches.append(tuple(tuple(next(texts) for _ in range(rows)) for rows in batch.columns))


class NotedLoss(TheirMatryoshkaLoss):
    """Notes the batches that the loss is given, without their padding."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.batches: list[Batch] = []

    def forward(self, sentence_features: Any, labels: Any) -> Tensor:
        self.batches.append(
            tuple(
                tuple(
                    tuple(ids[mask].tolist())
                    for ids, mask in zip(column["input_ids"], column["attention_mask"].bool(), strict=True)
                )
                for column in sentence_features
            )
        )
        return super().forward(sentence_features, labels)


def prompts_of(pairs: Dataset) -> dict[str, str]:
    """Anchors are queries, the others documents."""
    return {column: PROMPTS["query" if column == "anchor" else "document"] for column in pairs.column_names}


def our_training(encoder: Encoder, pairs: Dataset, recipe: Recipe, folder: Path) -> Trained:
    """Our module, data module and plan under Lightning's Trainer, as the training task sets them up."""
    ids = tokenized_pairs(pairs, encoder.tokenizer, encoder.max_seq_length, prompts_of(pairs))
    data = PairsModule(ids, partial(NoDuplicatesSampler, batch_size=recipe.batch_size, seed=recipe.seed))
    plan = TrainingPlan(data.micro_batches(recipe.epochs), recipe.accumulation, "flush")
    adamw: Any = partial(torch.optim.AdamW, lr=recipe.lr, eps=recipe.eps, weight_decay=0.0, fused=True)
    module = EmbeddingModule(
        encoder,
        MatryoshkaLoss(
            RankingLoss(20.0, recipe.direction), recipe.dims, recipe.weights, recipe.dims_per_step, recipe.seed
        ),
        plan,
        adamw if recipe.optimizer == "adamw" else partial(torch.optim.SGD, lr=recipe.lr, momentum=0.9),
        partial(schedulers.cosine, warmup=0.1),
        max_grad_norm=1.0,
        log_every=1,
    )
    noted, log = Noted(), MetricsFile(folder / "metrics.jsonl")
    fit(module, data, folder, callbacks=[noted], loggers=[log])
    return Trained(
        noted.batches,
        [row["train/loss"] for row in log.rows],
        [row["train/learning_rate"] for row in log.rows],
        [row["train/gradient_norm"] for row in log.rows],
        encoder.backbone.state_dict(),
    )


def their_training(model: SentenceTransformer, pairs: Dataset, recipe: Recipe, folder: Path) -> Trained:
    """sentence-transformers' Trainer with the same settings; positive_to_anchor is an order of the columns there."""
    swapped = recipe.direction == "positive_to_anchor"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "theirs"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.lr,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # below 1 a share of all updates
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused" if recipe.optimizer == "adamw" else "sgd",
        optim_args=None if recipe.optimizer == "adamw" else "momentum=0.9",
        adam_epsilon=recipe.eps,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts=prompts_of(pairs),
        seed=recipe.seed,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    both: Any = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    ranking = MultipleNegativesRankingLoss(model, 20.0, **(both if recipe.direction == "both" else {}))
    loss = NotedLoss(model, ranking, recipe.dims, recipe.weights, n_dims_per_step=recipe.dims_per_step or -1)
    columns = pairs.select_columns(pairs.column_names[::-1] if swapped else pairs.column_names)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=columns, loss=loss)
    random.seed(recipe.seed)  # dims are drawn with Python's generator, of which the model card has used some by now
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return Trained(
        [batch[::-1] if swapped else batch for batch in loss.batches],
        [row["loss"] for row in rows],
        [row["learning_rate"] for row in rows],
        [row["grad_norm"] for row in rows],
        dict(backbone_of(model).state_dict()),
    )
