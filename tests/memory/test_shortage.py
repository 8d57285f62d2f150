"""Memory that runs out: what the user is told to lower, and that the run fits then."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Encoder
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.memory.available import available
from matryoshka.memory.estimate import MemoryEstimate, MemorySettings, RunMemory, measure_memory
from matryoshka.memory.limits import MemoryLimits, MemoryShortageError, is_shortage, levers, shortage_explained
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, fit, small_module

PROJECT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
NOW = MemorySettings(None, 64, 30, 4096)
pytestmark = pytest.mark.filterwarnings(*LIGHTNINGS_ADVICE)


def by_rule(settings: MemorySettings) -> MemoryEstimate:
    """1000 held, 10 a token of the pairs at once, 1 a token of the budget in an evaluation."""
    rows = min(settings.pairs_at_once or 10**9, settings.batch_size or 64)
    used = 10.0 * rows * (settings.max_seq_length or 30)
    return MemoryEstimate(1000.0, 0.0, used, 0.0, 0.0, float(settings.token_budget), False, False)


def small_memory() -> RunMemory:
    batches = [[[9] * 64, [30] * 64]]
    optimizer, loss = partial(torch.optim.AdamW, fused=True), MatryoshkaLoss(RankingLoss(), [32, 8])
    return measure_memory(tiny_encoder(), loss, optimizer, batches, texts=50, device=CPU)


def test_what_memory_that_ran_out_looks_like() -> None:
    assert is_shortage(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    assert is_shortage(MemoryError())
    assert is_shortage(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: ..."))
    for said in (
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling `c`",
        "CUDNN_STATUS_ALLOC_FAILED",
    ):
        assert is_shortage(RuntimeError(f"{said}\nCompile with ..."))
    assert not is_shortage(RuntimeError("shapes do not match"))
    assert not is_shortage(MemoryShortageError("can't allocate memory"))


def test_each_lever_alone_brings_the_estimate_below_what_there_is() -> None:
    assert by_rule(NOW).peak == 1000 + 19200
    at_once, batch, tokens = levers(by_rule, NOW, available=11_000, stage="training")
    assert (at_once.key, at_once.largest) == ("pairs_at_once", 18)  # 1000 + 300 n <= 6600
    assert (batch.key, batch.now, batch.largest) == ("batch_size", 64, 18)
    assert (tokens.key, tokens.largest) == ("encoder.max_seq_length", 8)  # 1000 + 640 n <= 6600
    (budget,) = levers(by_rule, NOW, available=4000, stage="evaluation")
    assert str(budget) == "evaluator.token_budget=1400 (the same result; it is 4096)"


def test_an_estimate_that_was_too_low_is_not_believed() -> None:
    at_once, *_ = levers(by_rule, NOW, available=1e12, stage="training")
    assert at_once.largest == int((0.6 * 20200 - 1000) // 300)


def test_a_lever_that_does_not_help_says_so() -> None:
    found = levers(by_rule, NOW, available=1200, stage="training")
    assert [lever.largest for lever in found] == [None, None, None]
    assert str(found[0]) == "pairs_at_once alone does not help, however low"


def test_an_estimate_falls_with_every_setting() -> None:
    memory = small_memory()
    now = MemorySettings(None, 64, 32, 4096)
    peak = memory.estimate(now).peak
    assert peak == memory.estimate(MemorySettings()).peak
    for lower in ({"pairs_at_once": 8}, {"batch_size": 8}, {"max_seq_length": 8}):
        assert memory.estimate(replace(now, **lower)).peak < 0.7 * peak, lower
    assert memory.estimate(replace(now, token_budget=64)).evaluation < 0.5 * memory.estimate(now).evaluation


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000 bytes."),
        MemoryError(),
    ],
)
def test_a_training_without_memory_names_levers_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def forward(self: Encoder, batch: Any) -> Any:
        raise error

    (module, data), given = small_module(), limits()
    monkeypatch.setattr(Encoder, "forward", forward)
    with pytest.raises(MemoryShortageError) as caught, shortage_explained(given):
        fit(module, data, tmp_path)
    told = str(caught.value)
    assert caught.value.__cause__ is error
    assert told.startswith("out of memory on the CPU in training: it was estimated to need 0.0")
    assert re.search(r"Lower one of these: pairs_at_once=\d+ \(the same result, .*; or batch_size=\d+ .*; or enc", told)


def test_an_evaluation_without_memory_names_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    from matryoshka.evaluation.embeddings import embed

    def encode(self: Encoder, *args: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Encoder, "encode_batches", encode)
    encoder = tiny_encoder()
    alone = MemoryLimits(MemorySettings(token_budget=4096), CPU)
    for given, said in (
        (limits(evaluating=True), r"token_budget=\d+ \(the same"),
        (alone, "token_budget=2048 .*on_disk"),
    ):
        with pytest.raises(MemoryShortageError, match=said), shortage_explained(given):
            embed(encoder, [TokenIds.of(encoder.tokenize(["der", "die"], "query"))], token_budget=4096)


@pytest.mark.parametrize(
    ("device", "may_go_to_disk", "advised"), [("cpu", True, True), ("cpu", False, False), ("cuda", True, False)]
)
def test_the_disk_is_advised_where_it_would_help(
    monkeypatch: pytest.MonkeyPatch, device: str, may_go_to_disk: bool, advised: bool
) -> None:
    from matryoshka.evaluation.embeddings import embed

    def encode(self: Encoder, *args: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Encoder, "encode_batches", encode)
    encoder = tiny_encoder()
    given = MemoryLimits(MemorySettings(token_budget=4096), torch.device(device), may_go_to_disk=may_go_to_disk)
    with pytest.raises(MemoryShortageError) as caught, shortage_explained(given):
        embed(encoder, [TokenIds.of(encoder.tokenize(["der", "die"], "query"))], token_budget=4096)
    assert ("evaluator.on_disk" in str(caught.value)) == advised


def test_what_a_run_had_taken_when_it_ran_out_is_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(limits(), available=1000e6, before=500_000_000)
    assert given.memory
    for peak, there_is in ((1_300_000_000, 800e6), (1_600_000_000, 1000e6), (510_000_000, 1000e6)):
        monkeypatch.setattr("matryoshka.memory.limits.peak_memory", lambda device, peak=peak: peak)
        assert given.at_hand() == pytest.approx(there_is, abs=given.memory.weights + 1)


def test_other_errors_pass() -> None:
    for error in (RuntimeError("no"), MemoryError("elsewhere, where nothing could be lowered")):
        with pytest.raises(type(error), match=str(error)), shortage_explained(limits()):
            raise error


def limits(evaluating: bool = False) -> MemoryLimits:
    memory = small_memory()
    settings = MemorySettings(None, 64, 32, 4096)
    needed = memory.estimate(settings)
    return MemoryLimits(settings, CPU, memory, 0.8 * (needed.in_evaluation if evaluating else needed.peak))


LIMITED = """
import resource, sys
import torch, pytorch_lightning, transformers, datasets, matplotlib.pyplot
from matryoshka.cli import app
import matryoshka.tasks.train
torch.ones(64, 64) @ torch.ones(64, 64)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv.pop(1)) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
app.train()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_a_run_in_too_little_memory_fits_by_what_it_was_told(tmp_path: Path) -> None:
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    pairs = [
        {"anchor": f"frage {i} und das haus {i % 97}", "positive": f"antwort {i} am see der {i}"} for i in range(3000)
    ]
    for name, rows in (("train", pairs), ("evaluation", pairs[:20])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        fixed = (
            "data=pairs data.train=train.jsonl data.evaluation=evaluation.jsonl encoder=pretrained encoder.model=tiny "
            "pooling=saved dims=[32,16] batch_size=2048 trainer.max_epochs=1 trainer.precision=32-true logger=none "
            "trainer.accelerator=cpu baselines=[] split=same"
        )
        command = [sys.executable, "-c", LIMITED, "900", *fixed.split(), *words]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    failed = run("hydra.run.dir=failed")
    assert failed.returncode == 1, failed.stderr
    assert "MemoryShortageError: out of memory on the CPU in training" in failed.stderr
    assert "Traceback" not in failed.stderr and "Traceback" in (tmp_path / "failed/train.log").read_text()
    lever = re.search(r"pairs_at_once=\d+", failed.stderr)
    assert lever, failed.stderr
    assert run(lever[0], "hydra.run.dir=fits").returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_a_limit_of_the_address_space_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (used + 50_000_000, resource.RLIM_INFINITY))
    assert available(CPU, tiny_encoder()) == pytest.approx(50e6, rel=0.2)
