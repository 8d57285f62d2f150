"""The card's recipe as training arguments of sentence-transformers, for the programs that train with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers


def recipe_arguments(
    job: dict[str, Any], folder: Path, prompts: dict[str, str], **more: Any
) -> SentenceTransformerTrainingArguments:
    """more: what a program evaluates and saves on the way."""
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=job["epochs"],
        per_device_train_batch_size=job["batch"],
        learning_rate=job["lr"],
        lr_scheduler_type="cosine",
        warmup_steps=job["warmup"],  # below 1 a share of all updates
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=job["precision"] == "bf16",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts={"anchor": prompts["query"], "positive": prompts["document"]},
        seed=job["seed"],
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **more,
    )
