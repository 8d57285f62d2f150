"""The bar of a training run: updates done, loss, speed, time left."""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from matryoshka.data.packing import PackedBatch
from matryoshka.training.module import EmbeddingModule


class TrainingProgress(pl.Callback):
    """A bar over all updates on a terminal, one line every logged row elsewhere (log files, CI)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.progress: Progress | None = None
        self.row: dict[str, float] = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar; it is taken away for an evaluation, which shows its own."""
        assert isinstance(pl_module, EmbeddingModule)
        if not self.console.is_terminal or not trainer.is_global_zero:
            return
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("updates  {task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            transient=True,
            expand=True,
        )
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.progress.add_task(
            "", total=pl_module.plan.updates, completed=pl_module.updates, epoch=epoch, numbers=_numbers(self.row)
        )
        self.progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: PackedBatch, batch_idx: int
    ) -> None:
        """Advance after an update; the numbers change with each logged row, so nothing is read from the device."""
        assert isinstance(pl_module, EmbeddingModule)
        row = pl_module.last_row
        fresh = row is not self.row and "train/loss" in row
        if fresh:
            self.row = row
        if self.progress:
            self.progress.update(self.progress.task_ids[0], completed=pl_module.updates, numbers=_numbers(self.row))
        elif fresh and trainer.is_global_zero:
            self.console.print(f"update {pl_module.updates}/{pl_module.plan.updates}  {_numbers(row)}")
            sys.stderr.flush()
        if trainer.is_last_batch or pl_module.updates == pl_module.plan.updates:
            self.stop()  # here, since the evaluation may come before this callback at the epoch's end

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self.stop()

    def stop(self) -> None:
        """Remove the bar if it is shown."""
        if self.progress:
            self.progress.stop()
            self.progress = None


def _numbers(row: dict[str, float]) -> str:
    if "train/loss" not in row:
        return ""
    return (
        f"loss {row['train/loss']:.4f}  {row['train/pairs_per_second']:.1f} pairs/s  "
        f"{row['train/tokens_per_second']:,.0f} tokens/s"
    )
