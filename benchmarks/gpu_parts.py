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
from typing import Any

import torch
from gpu_model import CARD, TINY, Shape, save_small_encoder
from gpu_training import OurTraining, TheirTraining, agreement, compiled, without_kernels

from matryoshka.encoder.varlen_attention import kernel_name
from matryoshka.evaluation.nearest import search
from matryoshka.training.precision import gigaflops

ROOT = Path(__file__).resolve().parents[1]
TOKENS_AT_ONCE = 16_384


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


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """10^12 operations a second of large products of random numbers."""
    if device.type == "cpu":
        return gigaflops(device, dtype) / 1000
    size = 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = timed(lambda: a @ b, device, 10, warm=3)
    return 2 * size**3 / seconds / 1e12


def tests(device: torch.device, folder: Path) -> None:
    """The tests marked gpu; on a CPU the others of the same files."""
    found = [path for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text(encoding="utf-8")]
    files = sorted(str(path.relative_to(ROOT)) for path in found)
    marked = ["-m", "gpu" if device.type == "cuda" else "not gpu"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-header", "-rfE", *marked, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = done.stdout.strip().splitlines()
    failed = [line.removeprefix("FAILED ") for line in told if line.startswith(("FAILED", "ERROR"))]
    tell(passed=done.stdout.count(".") if not told else count_passed(told), failed_tests=failed, status=done.returncode)


def count_passed(told: list[str]) -> int:
    """Dots in the lines of progress."""
    return sum(line.split("[")[0].count(".") for line in told if line.rstrip().endswith("%]"))


def kernels(device: torch.device, folder: Path) -> None:
    """Which attention each precision reaches in training, and what a new shape costs."""
    shape = shape_for(device)
    head = shape.width // shape.heads
    for precision in ("bf16", "fp32"):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        ours = OurTraining(shape, device, precision, tokens_at_once=TOKENS_AT_ONCE)
        first, second, third = (timed(ours.next_update(), device, 1) for _ in range(3))
        names = ours.profiled_names(ours.next_update())
        found = sorted({name for name in names if any(word in name.lower() for word in ("flash", "fmha", "attention"))})
        tell(
            precision=precision,
            chosen=kernel_name(device, dtype, head),
            seen=found[:8],
            first_seconds=first,
            later_seconds=[second, third],
        )


def steps(device: torch.device, folder: Path) -> None:
    """An update's time, launches, rate and memory, for each way of computing it."""
    shape, rate = shape_for(device), product_rate(device, torch.bfloat16)
    for name in ("buckets", "one at a time", "merged", "compiled"):
        at_once = TOKENS_AT_ONCE if name in ("merged", "compiled") else 0
        with without_kernels(name == "buckets"):
            ours = OurTraining(shape, device, "bf16", tokens_at_once=at_once)
            start = time.perf_counter()
            if name == "compiled":
                compiled(ours.encoder, device)
            timed(ours.next_update(), device, 1)
            first = time.perf_counter() - start
            ours.reset_peak()
            updates = [ours.next_update() for _ in range(4)]
            timed(updates.pop(), device, 1)
            operations = sum(update.operations for update in updates)
            tokens = sum(update.tokens for update in updates)
            seconds = sum(timed(update, device, 1) for update in updates)
            tell(
                way=name,
                first_seconds=first,
                seconds_an_update=seconds / 3,
                tokens_per_second=tokens / seconds,
                mfu=operations / seconds / 1e12 / rate,
                launches=len(ours.profiled_names(ours.next_update())),
                peak_gigabytes=ours.peak_gigabytes(),
                estimated_gigabytes=ours.estimated_gigabytes(),
            )
        del ours, updates


def theirs(device: torch.device, folder: Path) -> None:
    """sentence-transformers on the same texts with the same weights: agreement, then both by turns."""
    shape = shape_for(device)
    tell(**agreement(shape, device))
    ours, other = (
        OurTraining(shape, device, "bf16", tokens_at_once=TOKENS_AT_ONCE),
        TheirTraining(shape, device, "bf16"),
    )
    seconds: dict[str, list[float]] = {"matryoshka": [], "sentence-transformers": []}
    for i in range(4):
        texts = ours.texts.window()
        taken = {
            "matryoshka": timed(ours.update_of(texts), device, 1),
            "sentence-transformers": timed(other.update_of(texts), device, 1),
        }
        for name, value in taken.items():
            seconds[name] += [value] if i else []  # the first is not counted
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    tell(seconds_an_update=seconds, ratio=sorted(ratios)[len(ratios) // 2])


def encoding(device: torch.device, folder: Path) -> None:
    """Texts a second of both sides without a gradient, in bf16."""
    shape = shape_for(device)
    other = TheirTraining(shape, device, "bf16")
    ours = OurTraining(shape, device, "bf16", tokens_at_once=0)
    texts = [passage for _, passage in ours.texts.pairs(4000 if device.type == "cuda" else 24)]
    encoder = ours.encoder.eval()
    found: dict[str, Any] = {}

    def here() -> None:
        found["ours"] = encoder.encode(texts, precision="bf16", token_budget=TOKENS_AT_ONCE, progress=False)

    def there() -> None:
        found["theirs"] = other.encode(texts)

    taken = {"matryoshka": timed(here, device, 1, warm=1), "sentence-transformers": timed(there, device, 1, warm=1)}
    difference = float(abs(found["ours"] - found["theirs"]).max())
    tell(
        texts=len(texts),
        seconds=taken,
        ratio=taken["sentence-transformers"] / taken["matryoshka"],
        difference=difference,
    )


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


def shape_for(device: torch.device) -> Shape:
    """The card's on a GPU, a tiny one on a CPU."""
    return CARD if device.type == "cuda" else TINY


def timed(work: Callable[[], object], device: torch.device, repeats: int, warm: int = 0) -> float:
    """Seconds of one, the device's work included."""
    for _ in range(warm):
        work()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / repeats


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def tell(**found: Any) -> None:
    """A line of results."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in found.items()}
    print(json.dumps(rounded), flush=True)
