"""Where our training step's time goes, and how near it is to the processor's rate: `python benchmarks/step_profile.py`.

The rate to compare with is that of plain products of the layer's shapes, measured between the steps. The profile is of
one more step under torch's profiler; what it cannot name is under "everything else".
"""

from __future__ import annotations

import statistics
import time

import torch
from datasets import load_dataset
from record import Fact, Record
from sides import LENGTH, arguments
from steps import Batch, TrainingSides
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from matryoshka.embedded.german_help import FOLDER

PARTS = {
    "products of the linear layers": ("mm", "addmm"),
    "products and softmax of attention": ("bmm", "baddbmm", "_softmax"),
    "selecting and copying": ("copy_", "index_select", "cat", "clone", "fill_"),
    "random numbers of dropout": ("random_",),
    "GELU": ("gelu", "gelu_backward"),
    "layer norm": ("native_layer_norm", "native_layer_norm_backward"),
    "sums, products and signs of elements": (
        "mul",
        "mul_",
        "add",
        "add_",
        "sub_",
        "sum",
        "clamp_min",
        "abs",
        "addcmul_",
        "ge",
    ),
    "clipping and optimizer": ("linalg_vector_norm", "_foreach_mul_", "_fused_adamw_"),
}


def product_rate(tokens: int, width: int, inner: int, dtype: torch.dtype) -> float:
    """10^9 operations a second of a layer's products: forward, gradient of the input, gradient of the weight."""
    x, weight, gradient = (
        torch.randn(*shape).to(dtype) for shape in ((tokens, width), (inner, width), (tokens, inner))
    )

    def run() -> tuple[Tensor, Tensor, Tensor]:
        return x @ weight.T, gradient @ weight, gradient.T @ x

    run()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 3 * 2 * tokens * width * inner / statistics.median(seconds) / 1e9


def shares(sides: TrainingSides, batch: Batch) -> dict[str, float]:
    """Of a step's time, by PARTS."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        sides.ours([batch])
    spent = {event.key: event.self_cpu_time_total for event in recorded.key_averages()}
    total = sum(spent.values())
    found = {name: sum(spent.get(f"aten::{op}", 0) for op in ops) / total for name, ops in PARTS.items()}
    return {**found, "everything else": 1 - sum(found.values())}


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", repeats=5, batch=32)
    rows = load_dataset("json", data_files=str(FOLDER / "train.jsonl"), split="train")
    texts = list(zip(rows["anchor"], rows["positive"], strict=True))
    sides = TrainingSides()
    batch = sides.batch(texts[: options.batch])
    sides.start(options.precision, texts)
    with FlopCounterMode(display=False) as counter:
        sides.ours([batch])
    work = counter.get_total_flops() / 1e9
    config, dtype = sides.encoder.backbone.config, torch.bfloat16 if sides.bf16 else torch.float32
    seconds, rates = [], []
    for _ in range(options.repeats):
        rates.append(product_rate(batch.tokens, config.hidden_size, config.intermediate_size, dtype))
        start = time.perf_counter()
        sides.ours([batch])
        seconds.append(time.perf_counter() - start)
    rate, step = statistics.median(rates), statistics.median(seconds)
    share = statistics.median(work / s / r for s, r in zip(seconds, rates, strict=True))
    record = Record("Where a training step's time goes")
    what = f"{options.batch} pairs, {batch.tokens:,} tokens, {LENGTH} a text at most, {options.precision}"
    record.facts.append(Fact(f"share of the machine's product rate ({what})", 100 * share, "%", 50, at_least=True))
    record.notes.append(
        f"A step of {step:.2f} s makes {work:,.0f} GFLOP; products alone run at {rate:.0f} GFLOP/s here, "
        f"so they take {work / rate:.2f} s at the least: with all else free a step would be "
        f"{step * rate / work:.2f} times as fast."
    )
    profiled = shares(sides, batch)
    rows_of_profile = sorted(profiled.items(), key=lambda row: -row[1])
    record.notes.append("\n".join(f"- {value:5.1%} {name}" for name, value in rows_of_profile))
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
