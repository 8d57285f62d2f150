"""What transformers' Trainer makes of a run's sizes: its windows, gradient scales, rates and log rows.

    python transformers_plan.py runs.json answer.json

Runs under transformers 4.44 and 5 alike, with nothing of this project. runs.json: a list of objects with `rows`,
`batch_size`, `accumulation`, `epochs`, `log_every`, `lr` and `warmup` (a share of all updates). answer.json:
{"transformers": version, "runs": [what record() returns, ...]}.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainingArguments


class Notes:
    """scales: the gradient that reaches each micro-loss. windows (micro-batches) and rates: of each optimizer step."""

    def __init__(self) -> None:
        self.scales: list[float] = []
        self.windows: list[int] = []
        self.rates: list[float] = []

    def of_loss(self, loss: Tensor) -> None:
        loss.register_hook(lambda gradient: self.scales.append(float(gradient)))

    def of_update(self, optimizer: Any, *_: Any) -> None:
        """For register_step_pre_hook."""
        self.windows.append(len(self.scales) - sum(self.windows))
        self.rates.append(float(optimizer.param_groups[0]["lr"]))


class OneNumber(nn.Module):
    """The smallest model that can be trained."""

    # The Trainer, not the model, divides a micro-loss by the size of its window: as for sentence-transformers' models.
    accepts_loss_kwargs = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.weight * x).square().mean()}


class NotingTrainer(Trainer):
    """Takes notes of the losses before they are divided, and of the optimizer's steps."""

    def __init__(self, notes: Notes, **options: Any) -> None:
        super().__init__(**options)
        self.notes = notes

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        loss = super().compute_loss(*args, **options)
        if isinstance(loss, Tensor) and loss.requires_grad:  # not in an evaluation
            self.notes.of_loss(loss)
        return loss

    def create_optimizer(self, *args: Any, **options: Any) -> Any:
        optimizer = super().create_optimizer(*args, **options)
        optimizer.register_step_pre_hook(self.notes.of_update)
        return optimizer


def record(run: dict[str, Any]) -> dict[str, Any]:
    """Train once; returns the notes by name, and as `log` (epoch, step, what it shows) of every logged row."""
    notes = Notes()
    five = int(transformers.__version__.partition(".")[0]) >= 5
    warmup = {"warmup_steps" if five else "warmup_ratio": run["warmup"]}  # in 5 a share stands where the count does
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=run["batch_size"],
            gradient_accumulation_steps=run["accumulation"],
            num_train_epochs=run["epochs"],
            learning_rate=run["lr"],
            lr_scheduler_type="cosine",
            optim="adamw_torch",
            max_grad_norm=1.0,
            logging_steps=run["log_every"],
            eval_strategy="epoch",
            save_strategy="no",
            seed=42,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **warmup,
        )
        rows: Any = [{"x": 1.0}] * run["rows"]
        trainer = NotingTrainer(notes, model=OneNumber(), args=arguments, train_dataset=rows, eval_dataset=rows[:1])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    log = [
        (round(row["epoch"], 4), row["step"], "training loss" if "loss" in row else "evaluation")
        for row in trainer.state.log_history
        if "train_runtime" not in row  # the summary at the end
    ]
    return {**vars(notes), "log": log}


if __name__ == "__main__":
    runs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = {"transformers": transformers.__version__, "runs": [record(run) for run in runs]}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")
