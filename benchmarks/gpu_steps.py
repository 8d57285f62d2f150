"""The parts of `benchmarks/gpu.py` that encode: kernels, ways to compute an update, the other side beside them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from gpu_model import CARD, TINY, Shape
from gpu_theirs import TheirTraining, agreement
from gpu_timing import product_rate, tell, timed
from gpu_training import OurTraining, compiled, without_kernels

from matryoshka.encoder.varlen_attention import kernel_name

TOKENS_AT_ONCE = 16_384


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


def shape_for(device: torch.device) -> Shape:
    """The card's on a GPU, a tiny one on a CPU."""
    return CARD if device.type == "cuda" else TINY
