"""Training to the first update as a user of sentence-transformers writes it: `start_theirs.py START.json`.

benchmarks/start.py runs it. After each update a row is added to the file that START.json names.
"""

from __future__ import annotations

import json
import sys
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
from transformers import TrainerCallback


class Rows(TrainerCallback):  # type: ignore[misc]
    """Adds a row to a file when an update was logged, which is after every one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Write it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, "train/loss": (logs or {}).get("loss")}) + "\n")


def main(path: Path) -> None:
    """Load and train; the benchmark ends the process after the first row."""
    start = json.loads(path.read_text(encoding="utf-8"))
    pairs = load_dataset("json", data_files=start["train"], split="train").select_columns(["anchor", "positive"])
    model = SentenceTransformer(start["model"], device="cpu", local_files_only=True)
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=20.0), start["dims"])
    arguments = SentenceTransformerTrainingArguments(
        output_dir=start["folder"],
        num_train_epochs=1,
        per_device_train_batch_size=start["batch"],
        learning_rate=8e-5,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,  # below 1 a share of all updates
        optim="adamw_torch_fused",
        bf16=start["precision"] == "bf16",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts={"anchor": model.prompts["query"], "positive": model.prompts["document"]},
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    callbacks = [Rows(Path(start["rows"]))]
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=pairs, loss=loss, callbacks=callbacks
    )
    trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
