"""A bar on a terminal, lines elsewhere; no bar is left beside an evaluation or after an error."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from rich.console import Console

from matryoshka.evaluation.result import EvaluationResult
from matryoshka.training.callbacks.evaluation import EpochEvaluation
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.callbacks.progress import TrainingProgress
from tests.training.callbacks.small import AT_EPOCH_ENDS, LIGHTNINGS_ADVICE, UPDATES, fit, small_module

pytestmark = pytest.mark.filterwarnings(*LIGHTNINGS_ADVICE)

NUMBERS = r"loss \d+\.\d{4}  \d+\.\d pairs/s  [\d,]+ tokens/s"


def progress(terminal: bool) -> tuple[TrainingProgress, io.StringIO]:
    text = io.StringIO()
    return TrainingProgress(Console(file=text, force_terminal=terminal, width=120, color_system=None)), text


def test_without_a_terminal_each_logged_row_is_a_line(tmp_path: Path) -> None:
    bar, text = progress(terminal=False)
    module, data = small_module(log_every=2)
    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, [bar], [log])

    printed = text.getvalue().splitlines()
    assert len(printed) == 4
    for line, row in zip(printed, log.rows, strict=True):
        assert re.fullmatch(rf"update {row['step']}/{UPDATES}  {NUMBERS}", line)
        assert f"loss {row['train/loss']:.4f}" in line
    assert bar.progress is None


def evaluation(seen: list[object], bar: TrainingProgress) -> EpochEvaluation:
    def measure() -> EvaluationResult:
        seen.append(bar.progress)
        return EvaluationResult("tiny", "letters", 1, 1, 32, {8: {"ndcg@10": 0.5}})

    return EpochEvaluation(measure, "ndcg@10/dim_8")


@pytest.mark.parametrize("terminal", [True, False])
def test_an_evaluations_row_is_no_line_and_no_number(tmp_path: Path, terminal: bool) -> None:
    bar, text = progress(terminal)
    module, data = small_module(log_every=100)
    fit(module, data, tmp_path, [evaluation([], bar), bar])

    assert "loss" not in text.getvalue()
    assert ("update" in text.getvalue()) is terminal


class Watching(pl.Callback):
    """After each micro-batch: (updates done by the bar, of how many, what it says)."""

    def __init__(self, bar: TrainingProgress) -> None:
        self.bar = bar
        self.seen: list[tuple[float, float | None, str, str]] = []

    def on_train_batch_start(self, *_: Any) -> None:
        assert self.bar.progress is not None
        (task,) = self.bar.progress.tasks
        self.seen.append((task.completed, task.total, task.fields["epoch"], task.fields["numbers"]))


def test_on_a_terminal_a_bar_counts_updates_through_all_epochs(tmp_path: Path) -> None:
    bar, text = progress(terminal=True)
    module, data = small_module(log_every=2)
    watching = Watching(bar)
    fit(module, data, tmp_path, [bar, watching])

    # before each micro-batch of two an update, 7 an epoch, until the last update
    assert [completed for completed, *_ in watching.seen] == [i // 2 for i in range(18)]
    assert {total for _, total, *_ in watching.seen} == {UPDATES}
    assert [epoch for _, _, epoch, _ in watching.seen] == ["1/3"] * 7 + ["2/3"] * 7 + ["3/3"] * 4
    assert [numbers == "" for *_, numbers in watching.seen] == [True] * 4 + [False] * 14
    assert all(re.fullmatch(NUMBERS, numbers) for *_, numbers in watching.seen[4:])
    assert "epoch 1/3" in text.getvalue()


@pytest.mark.parametrize("first", ["evaluation", "bar"])
def test_the_bar_is_gone_while_an_evaluation_runs(tmp_path: Path, first: str) -> None:
    bar, _ = progress(terminal=True)
    module, data = small_module()
    seen: list[object] = []
    callbacks = [evaluation(seen, bar), bar]
    fit(module, data, tmp_path, callbacks if first == "evaluation" else callbacks[::-1])

    assert seen == [None] * len(AT_EPOCH_ENDS)


def test_the_bar_is_gone_after_an_error(tmp_path: Path) -> None:
    bar, text = progress(terminal=True)
    module, data = small_module()
    shown = []

    def fail(*_: Any) -> None:
        shown.append(bar.progress)
        raise RuntimeError("out of memory")

    module.encoder.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(module, data, tmp_path, [bar])

    assert shown[0] is not None
    assert bar.progress is None
    assert "\x1b[?25h" in text.getvalue()  # the cursor is back
