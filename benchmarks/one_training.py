"""One side's training in a process of its own: `memory.py` and `batch_size.py` start it with a setting as JSON.

It trains the embedded encoder on embedded German pairs for some updates and prints a line of JSON. The peak is the
largest resident set while training, less the resident set once the encoder is loaded and its weights are read, plus the
weights: what Python, the libraries and the tokenizer take does not count, on either side. What malloc (glibc) keeps of
freed blocks does, unless it is told to give those above 256 KB back, which costs time.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import load_dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from sides import DIMS, LENGTH, PROMPTS, autocast_forward
from steps import tokens_of
from torch import Tensor, nn
from transformers.models.xlm_roberta import modeling_xlm_roberta  # noqa: F401  before the first measurement

from matryoshka.data.packing import PackedBatch
from matryoshka.embedded.german_help import FOLDER
from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.losses import MatryoshkaLoss, NestedLoss, RankingLoss
from matryoshka.memory.estimate import MemorySettings, measure_memory
from matryoshka.training.accumulation import add_gradients
from matryoshka.training.clipping import clip_gradients

AdamW = partial(torch.optim.AdamW, lr=2e-5, weight_decay=0.0, fused=True)
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Setting:
    """How a side trains.

    folder: the model for sentence-transformers' side; ours if None. pairs_at_once: GradCache. give_back: malloc does.
    """

    folder: str | None = None
    batch: int = 32
    updates: int = 2
    pairs_at_once: int | None = None
    checkpointing: bool = False
    compact: bool = True
    bf16: bool = False
    dropout: bool = True
    estimate: bool = False
    give_back: bool = False


def run(setting: Setting) -> dict[str, Any]:
    """Train in another process: peak_mb, seconds of each update, its losses, and estimated_mb if asked for."""
    command = [sys.executable, __file__, json.dumps(asdict(setting))]
    given_back = {"MALLOC_MMAP_THRESHOLD_": str(1 << 18)} if setting.give_back else {}
    environment = {**os.environ, **given_back}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{setting}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def all_pairs() -> Pairs:
    """The embedded training pairs."""
    rows = load_dataset("json", data_files=str(FOLDER / "train.jsonl"), split="train")
    return list(zip(rows["anchor"], rows["positive"], strict=True))


def pairs_of(setting: Setting) -> list[Pairs]:
    """The batches of a setting, from the first pair on, as often as needed."""
    texts = all_pairs()
    starts = [update * setting.batch for update in range(setting.updates)]
    return [[texts[i % len(texts)] for i in range(start, start + setting.batch)] for start in starts]


def our_training(setting: Setting, result: dict[str, Any]) -> Callable[[], list[Tensor]]:
    """Load our side; returns what trains it."""
    encoder = Pretrained("embedded:e5_small", None, LENGTH, PROMPTS, setting.checkpointing).load(
        Pooling(["cls", "mean"])
    )
    loss = MatryoshkaLoss(RankingLoss(), DIMS)
    used = tokens_of(encoder, all_pairs()) if setting.compact else None  # as in a run
    start_measuring(encoder, result)
    batches = [as_packed(encoder, pairs) for pairs in pairs_of(setting)]
    if setting.estimate:
        start = time.perf_counter()
        memory = measure_memory(
            encoder,
            loss,
            AdamW,
            [[b.lengths[: setting.batch], b.lengths[setting.batch :]] for b in batches],
            texts=0,
            device=torch.device("cpu"),
            bf16=setting.bf16,
            rows_trained=None if used is None else len(used),
        )
        estimate = memory.estimate(MemorySettings(setting.pairs_at_once))
        result |= {"estimated_mb": estimate.peak / 1e6, "estimate_seconds": time.perf_counter() - start}
    if used is not None:
        encoder.compact_vocabulary(used)
    encoder.train()
    optimizer = AdamW(encoder.parameters())

    def step(batch: PackedBatch) -> Tensor:
        at_once = setting.pairs_at_once or setting.batch
        cached = at_once < setting.batch

        def loss_of(_: int, embeddings_SD: Tensor) -> NestedLoss:
            nested: NestedLoss = loss(*embeddings_SD.split(setting.batch), one_dim_at_a_time=cached)
            return nested

        with torch.autocast("cpu", torch.bfloat16, enabled=setting.bf16):
            (nested,) = add_gradients(encoder, [batch], loss_of, pairs_at_once=at_once)
        clip_gradients(encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return nested.total

    return lambda: train([partial(step, batch) for batch in batches], encoder, setting, result)


def as_packed(encoder: Encoder, pairs: Pairs) -> PackedBatch:
    """A batch as our loader gives it."""
    anchors, positives = zip(*pairs, strict=True)
    return PackedBatch.from_ids([encoder.tokenize(anchors, "query"), encoder.tokenize(positives, "document")])


def their_training(setting: Setting, result: dict[str, Any]) -> Callable[[], list[Tensor]]:
    """Load sentence-transformers' side; returns what trains it."""
    model = SentenceTransformer(setting.folder, device="cpu", local_files_only=True)
    start_measuring(model, result)
    if setting.bf16:
        autocast_forward(model)
    if setting.pairs_at_once:
        inner: nn.Module = CachedMultipleNegativesRankingLoss(model, mini_batch_size=setting.pairs_at_once)
    else:
        inner = MultipleNegativesRankingLoss(model)
    loss = TheirMatryoshkaLoss(model, inner, list(DIMS))
    prompts = list(PROMPTS.values())
    optimizer = AdamW(model.parameters())

    def padded(pairs: Pairs) -> list[dict[str, Any]]:
        columns = zip(prompts, zip(*pairs, strict=True), strict=True)
        return [model.preprocess([prompt + text for text in texts]) for prompt, texts in columns]

    def step(columns: list[dict[str, Any]]) -> Tensor:
        total: Tensor = loss(columns, None)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total.detach()

    model.train()
    return lambda: train([partial(step, padded(pairs)) for pairs in pairs_of(setting)], model, setting, result)


def train(
    steps: list[Callable[[], Tensor]], model: nn.Module, setting: Setting, result: dict[str, Any]
) -> list[Tensor]:
    """Take the steps and note the seconds of each."""
    if not setting.dropout:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    losses, result["seconds"] = [], []
    for step in steps:
        start = time.perf_counter()
        losses.append(step())
        result["seconds"].append(time.perf_counter() - start)
    return losses


def start_measuring(model: nn.Module, result: dict[str, Any]) -> None:
    """From here on the peak counts, beside what is there apart from the weights."""
    weights = list(model.parameters())
    for weight in weights:
        weight.detach().sum()  # read in: the file was only mapped
    result["before_mb"] = resident("VmRSS") - sum(w.numel() * w.element_size() for w in weights) / 1e6
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew


def resident(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def main() -> None:
    """Train as the first argument says."""
    setting = Setting(**json.loads(sys.argv[1]))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    small = nn.Linear(384, 384)  # what the libraries set up at first use
    small(torch.ones(64, 384)).sum().backward()
    AdamW(small.parameters()).step()
    gc.collect()
    result: dict[str, Any] = {}
    load = our_training if setting.folder is None else their_training
    result["losses"] = [float(loss) for loss in load(setting, result)()]
    result["peak_mb"] = resident("VmHWM") - result["before_mb"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
