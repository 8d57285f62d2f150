"""A loss spike stands out of the rows before it; falling, noise and a new level do not, more than once."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matryoshka.training.callbacks.loss_spikes import LossSpikes
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.loss_spikes import Spike, loss_spikes


def rows(losses: list[float]) -> list[dict[str, float]]:
    """A row every 10 updates, with evaluations between."""
    found: list[dict[str, float]] = []
    for i, loss in enumerate(losses, 1):
        found.append({"step": 10 * i, "train/loss": loss})
        if i % 7 == 0:
            found.append({"step": 10 * i, "ndcg@10/dim_32": 0.5})
    return found


def noisy(count: int, seed: int = 0) -> list[float]:
    """A loss that falls, with the noise of small batches."""
    draw = random.Random(seed)
    return [3 * 0.99**i + 0.5 + draw.gauss(0, 0.15) for i in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_falling_noisy_loss_has_no_spike(seed: int) -> None:
    assert loss_spikes(rows(noisy(300, seed))) == []


def test_a_spike_is_found_once_however_long_it_is() -> None:
    losses = noisy(100)
    losses[60:63] = [40.0, 30.0, 20.0]
    losses[80] = 50.0
    first, second = loss_spikes(rows(losses))
    assert (first.step, first.loss, second.step) == (610, 40.0, 810)
    assert 1 < first.usual < 4
    assert str(Spike(1610, 40.0, 2.5)) == "update 1,610: 40, where 2.5 was usual"


def test_a_level_that_stays_is_one_spike() -> None:
    assert [spike.step for spike in loss_spikes(rows([1.0] * 50 + [9.0] * 100))] == [510]


def test_few_rows_and_a_loss_that_hardly_moves_say_nothing() -> None:
    assert loss_spikes(rows([1.0] * 9 + [100.0])) == []
    assert loss_spikes(rows([1.0] * 40 + [1.2] + [1.0] * 5)) == []
    assert len(loss_spikes(rows([1.0] * 40 + [1.3] + [1.0] * 5))) == 1
    assert loss_spikes([]) == []


def test_each_spike_is_one_line_in_the_log_when_its_row_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    notes, losses = LossSpikes(), noisy(100)
    trainer: Any = SimpleNamespace(loggers=[metrics])
    losses[60:62] = [40.0, 30.0]
    for row in rows(losses):
        metrics.log_metrics({key: value for key, value in row.items() if key != "step"}, int(row["step"]))
        with caplog.at_level(logging.WARNING, "matryoshka"):
            notes.on_train_batch_end(trainer)
            notes.on_train_batch_end(trainer)  # a micro-batch without a row
    (line,) = (record.getMessage() for record in caplog.records if record.name == "matryoshka")
    assert line.startswith("loss spike at update 610: 40, where ")
