"""An epoch of the card's recipe as a user of sentence-transformers writes it: `time_to_quality_theirs.py JOB.json`.

benchmarks/time_to_quality.py runs it; JOB.json is its Job. Writes the trained model, and result.json beside it: when
training ended, by the system's monotonic clock.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss


def arguments_of(job: dict[str, Any], folder: Path, prompts: dict[str, str]) -> SentenceTransformerTrainingArguments:
    """Training arguments; nothing is evaluated or saved on the way."""
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
        save_strategy="no",
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )


def main(path: Path) -> None:
    """Train with the symmetric loss, the mean of both directions; note the time; save."""
    job = json.loads(path.read_text(encoding="utf-8"))
    folder, train = path.parent, Path(job["data"]) / "train.jsonl"
    pairs = load_dataset("json", data_files=str(train), split="train").select_columns(["anchor", "positive"])
    model = SentenceTransformer(job["model"], device="cpu", local_files_only=True)
    ranking = MultipleNegativesRankingLoss(
        model, scale=20.0, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments_of(job, folder, model.prompts),
        train_dataset=pairs,
        loss=MatryoshkaLoss(model, ranking, job["dims"]),
    )
    trainer.train()
    ended = time.monotonic()
    model.save_pretrained(str(folder / "model"))
    result = {"ended": ended, "updates": trainer.state.global_step}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
