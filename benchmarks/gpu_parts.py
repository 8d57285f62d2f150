"""The parts of `benchmarks/gpu.py`: each prints lines of JSON, a dictionary a line."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from gpu_model import save_small_encoder
from gpu_steps import encoding, kernels, steps, theirs
from gpu_timing import product_rate, tell, timed

from matryoshka.evaluation.nearest import search

ROOT = Path(__file__).resolve().parents[1]


def machine(device: torch.device, folder: Path) -> None:
    """Versions, the device, and the rate of its products."""
    packages = ("torch", "transformers", "sentence-transformers", "pytorch-lightning")
    tell(
        python=platform.python_version(),
        **{package: version(package) for package in packages},
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        cuda=torch.version.cuda,
        capability=list(torch.cuda.get_device_capability(device)) if device.type == "cuda" else None,
        gigabytes=torch.cuda.get_device_properties(device).total_memory / 1e9 if device.type == "cuda" else None,
    )
    for dtype in (torch.bfloat16, torch.float32):
        tell(products=str(dtype).removeprefix("torch."), teraflops=product_rate(device, dtype))


def tests(device: torch.device, folder: Path) -> None:
    """The tests marked gpu; on a CPU the others of the same files."""
    marks = ("mark.gpu", "ON_EACH")  # the second, which has the first in it, is imported from tests/test_gpu.py
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    found = [path for path, text in texts.items() if any(mark in text for mark in marks)]
    files = sorted(str(path.relative_to(ROOT)) for path in found)
    marked = ["-m", "gpu" if device.type == "cuda" else "not gpu"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-header", "-rfE", *marked, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = done.stdout.strip().splitlines()
    failed = [line.removeprefix("FAILED ") for line in told if line.startswith(("FAILED", "ERROR"))]
    tell(passed=count_passed(told), failed_tests=failed, status=done.returncode)


def count_passed(told: list[str]) -> int:
    """Dots in the lines of progress."""
    return sum(line.split("[")[0].count(".") for line in told if line.rstrip().endswith("%]"))


def nearest(device: torch.device, folder: Path) -> None:
    """Exact search on the device and on the host: the same hits, bit for bit."""
    queries, documents = (1000, 200_000) if device.type == "cuda" else (20, 500)
    generator = torch.Generator().manual_seed(0)
    both = [torch.randn(rows, 768, generator=generator) for rows in (queries, documents)]
    dims = [768, 512, 256, 128, 64]
    there = [x.to(device) for x in both]
    seconds = timed(lambda: search(*there, dims, 100), device, 1, warm=1)
    few = search(both[0][:20], both[1], dims, 100)
    found = search(there[0][:20], there[1], dims, 100)
    equal = all(
        torch.equal(few[dim].documents_Qk, found[dim].documents_Qk.cpu())
        and torch.equal(few[dim].similarities_Qk, found[dim].similarities_Qk.cpu())
        for dim in dims
    )
    tell(queries=queries, documents=documents, dims=dims, seconds=seconds, equal_to_the_hosts=equal)


def run(device: torch.device, folder: Path) -> None:
    """A short whole run, stopped by SIGTERM and gone on with, on German texts; its model is random."""
    model, place = save_small_encoder(folder / "model", large=device.type == "cuda"), folder / "run"
    command = [sys.executable, "train.py", "data=german_help", "data.documents=[]", "encoder=pretrained"]
    command += [f"encoder.model={model}", "encoder.max_seq_length=64", "pooling=mean", "dims=[64,32]", "logger=none"]
    command += ["batch_size=4", "accumulation=2", "trainer.max_epochs=1", "+trainer.limit_train_batches=40"]
    command += ["trainer.log_every_n_steps=5", "evaluator=quick", f"hydra.run.dir={place}", "baselines=[]"]
    command += [f"trainer.accelerator={'cuda' if device.type == 'cuda' else 'cpu'}"]
    start, rows = time.perf_counter(), place / "metrics.jsonl"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (rows.is_file() and '"step": 5' in rows.read_text(encoding="utf-8")):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    tell(stopped_with=process.returncode, seconds=time.perf_counter() - start, said=said.strip().splitlines()[-1:])
    start = time.perf_counter()
    done = subprocess.run([*command, f"resume={place}"], cwd=ROOT, capture_output=True, text=True, check=False)
    finished = (place / "results.json").is_file()
    last = json.loads(rows.read_text(encoding="utf-8").splitlines()[-1]) if rows.is_file() else {}
    tell(
        gone_on_with=done.returncode,
        seconds=time.perf_counter() - start,
        finished=finished,
        last_update=last.get("step"),
    )
    if done.returncode or not finished:
        raise SystemExit((done.stderr.strip().splitlines() or ["no results.json"])[-1])


@dataclass(frozen=True)
class Part:
    """seconds: its limit on a GPU."""

    seconds: float
    run: Callable[[torch.device, Path], None]


PARTS = {
    "machine": Part(60, machine),
    "tests": Part(120, tests),
    "kernels": Part(90, kernels),
    "steps": Part(150, steps),
    "theirs": Part(120, theirs),
    "encoding": Part(90, encoding),
    "search": Part(60, nearest),
    "run": Part(120, run),
}


def run_part(name: str, device: str, folder: Path) -> None:
    """One part in this process."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.backends.cuda.enable_cudnn_sdp(False)  # as in a run
    PARTS[name].run(torch.device(device, 0) if device == "cuda" else torch.device(device), folder)
