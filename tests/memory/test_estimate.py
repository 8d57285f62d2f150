"""The peak of a run: its parts on a tiny encoder, the line that a run shows, and the truth on the embedded encoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from matryoshka.encoder import Encoder
from matryoshka.encoder.adapter import Lora
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.memory.available import available
from matryoshka.memory.estimate import MemoryEstimate, MemorySettings, measure_memory
from matryoshka.report.terminal.lines import show_memory
from tests.tiny import tiny_encoder

LOSS = MatryoshkaLoss(RankingLoss(), [32, 8])
ADAMW = partial(torch.optim.AdamW, fused=True)
CPU = torch.device("cpu")
BATCHES = [[[9] * 16, [20] * 16], [[5] * 16, [30] * 16]]
PARTS = MemoryEstimate(
    held=100, gradients=20, activations=50, loss=30, arriving=5, evaluation=60, gradients_wait=False, loss_alone=False
)


def estimated(encoder: Encoder | None = None, *, pairs_at_once: int | None = None, **options: Any) -> MemoryEstimate:
    settings: dict[str, Any] = {"texts": 10, "device": CPU, **options}
    memory = measure_memory(encoder or tiny_encoder(dropout=0.1), LOSS, ADAMW, BATCHES, **settings)
    return memory.estimate(MemorySettings(pairs_at_once))


def test_the_peak_is_the_largest_moment() -> None:
    assert PARTS.peak == 100 + 50 + 30
    assert replace(PARTS, loss_alone=True).peak == 100 + 60
    assert replace(PARTS, gradients_wait=True).peak == 100 + 20 + 80
    assert replace(PARTS, arriving=70).peak == 100 + 20 + 70
    assert replace(PARTS, evaluation=90).peak == 100 + 90


def test_weights_gradients_and_averages() -> None:
    encoder = tiny_encoder()
    size = sum(4 * p.numel() for p in encoder.parameters())
    estimate = estimated(encoder)
    assert estimate.held == pytest.approx(3 * size, rel=0.01)
    assert estimate.gradients == size


def test_rows_set_aside_stay_on_the_cpu() -> None:
    encoder = tiny_encoder()
    size, row = sum(4 * p.numel() for p in encoder.parameters()), 4 * 32
    table = encoder.backbone.get_input_embeddings().weight
    trained = size - (len(table) - 20) * row
    on_cpu, on_gpu = (estimated(encoder, rows_trained=20, device=torch.device(kind)) for kind in ("cpu", "cuda"))
    assert on_cpu.gradients == on_gpu.gradients == trained
    assert on_gpu.held == pytest.approx(3 * trained, rel=0.01)
    assert on_cpu.held == pytest.approx(3 * trained + len(table) * row, rel=0.01)


def test_parts_need_the_activations_of_a_part() -> None:
    whole, parts = estimated(), estimated(pairs_at_once=4)
    assert parts.activations < 0.35 * whole.activations
    assert (parts.gradients_wait, parts.loss_alone) == (True, True)
    assert estimated(pairs_at_once=16) == whole  # the batch in one
    assert estimated(accumulation=2).gradients_wait


def test_what_is_available() -> None:
    encoder = tiny_encoder()
    free = available(CPU, encoder)
    assert free is None or free > 1e6
    assert available(torch.device("meta"), encoder) is None


CONFIG = {"pairs_at_once": None, "encoder": {}, "compact_vocabulary": True}


def test_the_line_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    estimate = replace(PARTS, held=3e9)
    show_memory(estimate, 24e9, CONFIG)
    assert capsys.readouterr().out == "  memory  about 3.0 GB at the peak, of 24.0 GB available\n"
    show_memory(estimate, None, CONFIG)
    assert capsys.readouterr().out == "  memory  about 3.0 GB at the peak\n"


def announced(config: dict[str, Any]) -> Any:
    return SimpleNamespace(config=config, stand_in=())


def test_too_little_memory_is_a_warning_with_what_helps(capsys: pytest.CaptureFixture[str]) -> None:
    show_memory(replace(PARTS, held=3e9), 2e9, announced(CONFIG))
    out = capsys.readouterr().out
    assert "may not fit" in out
    assert all(word in out for word in ("pairs_at_once", "encoder.gradient_checkpointing=true", "token_budget"))
    assert "compact_vocabulary" not in out

    used = {"pairs_at_once": 8, "encoder": {"gradient_checkpointing": True}, "compact_vocabulary": False}
    show_memory(replace(PARTS, held=3e9), 2e9, announced(used))
    out = capsys.readouterr().out
    assert "compact_vocabulary=true" in out
    assert not any(word in out for word in ("pairs_at_once", "gradient_checkpointing"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        {"batch": 8},
        {"batch": 32},
        {"batch": 32, "checkpointing": True},
        {"batch": 32, "pairs_at_once": 8},
        {"batch": 32, "compact": False},
    ],
    ids=lambda setting: " ".join(f"{name}={value}" for name, value in setting.items()),
)
def test_the_embedded_encoder_needs_what_was_estimated(setting: dict[str, Any]) -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "one_training.py"
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells a process's peak since a moment")
    environment = {"MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
    command = [sys.executable, str(script), json.dumps({**setting, "estimate": True})]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["estimated_mb"] == pytest.approx(found["peak_mb"], rel=0.15)


def test_under_an_adapter_its_weights_alone_have_gradients_and_averages() -> None:
    encoder, lora = tiny_encoder(), Lora(rank=2)
    size, adapter = sum(4 * p.numel() for p in encoder.parameters()), lora.size(encoder.backbone)
    estimate = estimated(encoder, adapter=adapter)
    assert estimate.gradients == adapter
    assert estimate.held == pytest.approx(size + 3 * adapter, rel=0.01)
    assert estimate.activations == estimated(encoder).activations
