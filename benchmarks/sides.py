"""The two sides of a benchmark: this project and sentence-transformers, with equal weights, texts and precision."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.report.environment.environment import environment
from matryoshka.training.precision import choose_precision

DIMS = (768, 512, 256, 128, 64)
LENGTH = 128
PROMPTS = {"query": "query: ", "document": "passage: "}


def arguments(description: str, repeats: int = 3, files: Sequence[str] = (), **sizes: int) -> argparse.Namespace:
    """--repeats, --precision, --json (a file for the record) and the given sizes, each an option with its default.

    files: names of options that take a path, None unless given. The result also has `best`: the precision that this
    machine is fastest at.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--precision", choices=["fp32", "bf16", "auto"], default="auto")
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in files:
        parser.add_argument(f"--{name}", type=Path, default=None)
    options = parser.parse_args()
    choice = choose_precision(torch.device("cpu"))
    options.best = "bf16" if "bf16" in choice.precision else "fp32"
    if options.precision == "auto":
        options.precision = options.best
        print(f"precision  {options.precision} on both sides ({choice.reason})")
    else:
        print(f"precision  {options.precision} on both sides (as asked)")
    facts = environment()
    print(f"machine    {facts['processor']}, {facts['threads']} threads; measured on the CPU")
    packages = ("torch", "transformers", "sentence-transformers", "matryoshka")
    print(f"versions   {', '.join(f'{package} {version(package)}' for package in packages)}")
    return options


def load() -> tuple[Encoder, SentenceTransformer]:
    """The embedded encoder, first token and mean side by side, on both sides."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    encoder = Pretrained("embedded:e5_small", max_seq_length=LENGTH, prompts=PROMPTS).load(Pooling(["cls", "mean"]))
    with tempfile.TemporaryDirectory() as folder:
        path = SentenceTransformersFolder().save(encoder, Path(folder) / "model")
        theirs = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    return encoder, theirs


def autocast_forward(theirs: SentenceTransformer, device: str = "cpu") -> None:
    """bf16 autocast around the model's forward only, its outputs back in fp32: what its Trainer's accelerator does."""
    forward = theirs.forward

    def cast(*args: Any, **options: Any) -> dict[str, Any]:
        with torch.autocast(device, torch.bfloat16):
            output = forward(*args, **options)
        floats = {k: v.float() for k, v in output.items() if torch.is_tensor(v) and v.is_floating_point()}
        return {**output, **floats}

    theirs.forward = cast  # type: ignore[method-assign]


def interleaved(
    ours: Callable[[int], object], theirs: Callable[[int], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each side, repeat by repeat; the side that begins changes each time."""
    fast, slow = in_turn((ours, theirs), repeats)
    return fast, slow


def in_turn(sides: Sequence[Callable[[int], object]], repeats: int) -> list[list[float]]:
    """Seconds of each of several sides, repeat by repeat; they go backwards and forwards by turns."""
    seconds: list[list[float]] = [[] for _ in sides]
    for repeat in range(repeats):
        order = range(len(sides)) if repeat % 2 else reversed(range(len(sides)))
        for side in order:
            start = time.perf_counter()
            sides[side](repeat)
            seconds[side].append(time.perf_counter() - start)
    return seconds
