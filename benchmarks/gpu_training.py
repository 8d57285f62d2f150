"""Updates of our side on a device, as a run makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from gpu_model import Shape, Texts, random_encoder
from torch.profiler import ProfilerActivity, profile

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, packed_attention
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.memory.estimate import MemorySettings, measure_memory
from matryoshka.training import schedulers
from matryoshka.training.flops import Operations
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan

AdamW = partial(torch.optim.AdamW, lr=2e-5, weight_decay=0.0, fused=True)
Pairs = list[tuple[str, str]]


@contextmanager
def without_kernels(wanted: bool) -> Iterator[None]:
    """Inside, if wanted, attention goes through buckets of like length, as it does where no kernel fits."""
    if not wanted:
        yield
        return
    with patch.object(packed_attention, "varlen_kernel", lambda *call: None):
        yield


def compiled(encoder: Encoder, device: torch.device) -> None:
    """The layers compiled; on a CPU without a compiler's backend, only to know that the way there works."""
    encoder.packed_layers.compile(backend="inductor" if device.type == "cuda" else "eager")


class Update:
    """The work of one update. tokens, operations: what it is about."""

    def __init__(self, module: EmbeddingModule, batches: list[PackedBatch], first: int, operations: float) -> None:
        self.module, self.batches, self.first, self.operations = module, batches, first, operations
        self.tokens = sum(sum(batch.lengths) for batch in batches)

    def __call__(self) -> None:
        """Make it."""
        trained = self.module
        assert isinstance(trained, Alone)
        with torch.autocast(trained.encoder.device.type, torch.bfloat16, enabled=trained.bf16):
            for i, batch in enumerate(self.batches):
                trained.training_step(batch, self.first + i)


class Alone(EmbeddingModule):
    """The module without a Trainer, which would give it optimizer and schedule."""

    bf16 = True

    def start(self) -> None:
        """Make them."""
        (self.own_optimizer,), (self.own_scheduler,) = self.configure_optimizers()

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The one there is."""
        return self.own_optimizer

    def lr_schedulers(self) -> Any:
        """The one there is."""
        return self.own_scheduler


class OurTraining:
    """Our side. tokens_at_once: micro-batches of an update are encoded together up to so many."""

    def __init__(self, shape: Shape, device: torch.device, precision: str, *, tokens_at_once: int) -> None:
        self.shape, self.device, self.tokens_at_once = shape, device, tokens_at_once
        self.encoder, self.texts = random_encoder(shape, device), Texts(shape)
        self.operations = Operations.counted(self.encoder)
        self.loss = MatryoshkaLoss(RankingLoss(direction="positive_to_anchor"), shape.dims)
        plan = TrainingPlan([1_000 * shape.micro_batches], shape.micro_batches)
        options: dict[str, Any] = {"log_every": 1_000_000, "tokens_at_once": tokens_at_once}
        self.module = Alone(self.encoder, self.loss, plan, AdamW, schedulers.cosine, **options)
        self.module.bf16 = precision == "bf16"
        self.module.start()
        self.done = 0
        self.largest: list[list[list[int]]] = []

    def next_update(self) -> Update:
        """Of new texts."""
        return self.update_of(self.texts.window())

    def update_of(self, texts: list[Pairs]) -> Update:
        """Of these texts, a list a micro-batch."""
        batches = [packed(self.encoder, pairs, self.device) for pairs in texts]
        self.largest += [[list(b.lengths[: b.columns[0]]), list(b.lengths[b.columns[0] :])] for b in batches]
        first, self.done = self.done, self.done + len(batches)
        operations = sum(self.operations.of_training(batch.lengths) for batch in batches)
        return Update(self.module, batches, first, operations)

    def profiled_names(self, update: Update) -> list[str]:
        """The kernels of an update, on a CPU the operations."""
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self.device.type == "cuda")
        with profile(activities=activities) as recorded:
            update()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        on_gpu = torch.autograd.DeviceType.CUDA
        events = recorded.events() or []
        return [e.name for e in events if self.device.type == "cpu" or e.device_type == on_gpu]

    def reset_peak(self) -> None:
        """Measure the peak of memory from here on."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gigabytes(self) -> float | None:
        """The most that tensors took; None on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else None

    def estimated_gigabytes(self) -> float:
        """What the estimate before a run says of the same batches."""
        options: dict[str, Any] = {"texts": 0, "device": self.device, "bf16": True}
        options |= {"accumulation": self.shape.micro_batches}
        memory = measure_memory(self.encoder, self.loss, AdamW, self.largest, **options)
        self.encoder.zero_grad(set_to_none=True)
        return memory.estimate(MemorySettings(tokens_at_once=self.tokens_at_once)).peak / 1e9


def packed(encoder: Encoder, pairs: Pairs, device: torch.device) -> PackedBatch:
    """A micro-batch as our loader gives it, on the device."""
    return PackedBatch.from_ids([encoder.tokenize(column) for column in zip(*pairs, strict=True)]).sent(device)
