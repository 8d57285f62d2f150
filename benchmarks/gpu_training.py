"""Updates of both sides on a device, with equal weights and texts: ours as a run has them, theirs as their Trainer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from gpu_model import Shape, Texts, random_encoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, packed_attention
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.memory.estimate import MemorySettings, measure_memory
from matryoshka.training import schedulers
from matryoshka.training.accumulation import add_gradients
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


class TheirTraining:
    """sentence-transformers with the same weights; columns in the card's order, the passage first."""

    def __init__(self, shape: Shape, device: torch.device, precision: str, *, dropout: float | None = None) -> None:
        encoder = random_encoder(shape, device, dropout=dropout)
        with tempfile.TemporaryDirectory() as folder:
            path = SentenceTransformersFolder().save(encoder, Path(folder) / "model")
            self.model = SentenceTransformer(str(path), device=str(device), local_files_only=True)
        self.device, self.bf16 = device, precision == "bf16"
        inner = MultipleNegativesRankingLoss(self.model)
        self.loss = TheirMatryoshkaLoss(self.model, inner, list(shape.dims))
        self.optimizer = AdamW(self.model.parameters())
        self.model.train(dropout != 0)
        forward = self.model.forward

        def cast(*args: Any, **options: Any) -> dict[str, Any]:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                output = forward(*args, **options)
            return {k: v.float() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in output.items()}

        self.model.forward = cast  # type: ignore[method-assign]  # what its Trainer's accelerator does

    def loss_of(self, features: list[dict[str, Any]]) -> Tensor:
        """Of one micro-batch."""
        total: Tensor = self.loss([dict(column) for column in features], None)  # they write into the features
        return total

    def features(self, pairs: Pairs) -> list[dict[str, Any]]:
        """A micro-batch as their collator gives it, on the device."""
        columns = [self.model.preprocess([pair[side] for pair in pairs]) for side in (1, 0)]
        return [{k: v.to(self.device) if torch.is_tensor(v) else v for k, v in c.items()} for c in columns]

    def update_of(self, texts: list[Pairs]) -> Any:
        """The work of one update."""
        windows = [self.features(pairs) for pairs in texts]

        def update() -> None:
            for features in windows:
                (self.loss_of(features) / len(windows)).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

        return update

    def encode(self, texts: list[str]) -> np.ndarray[Any, Any]:
        """Their encode in bf16, at its default batch size."""
        self.model.eval()
        found: np.ndarray[Any, Any] = self.model.encode(texts, show_progress_bar=False)
        return found


def agreement(shape: Shape, device: torch.device) -> dict[str, float]:
    """How far loss and gradients of one micro-batch are apart, dropout off, in fp32 and in bf16."""
    found: dict[str, float] = {}
    pairs = Texts(shape).pairs(shape.pairs)
    loss = MatryoshkaLoss(RankingLoss(direction="positive_to_anchor"), shape.dims)
    for precision in ("fp32", "bf16"):
        other = TheirTraining(shape, device, precision, dropout=0.0)
        encoder = random_encoder(shape, device, dropout=0.0)
        total = other.loss_of(other.features(pairs))
        total.backward()  # type: ignore[no-untyped-call]
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            batch = packed(encoder, pairs, device)
            (ours,) = add_gradients(encoder, [batch], lambda _, x_SD: loss(*x_SD.tensor_split([len(pairs)])))
        theirs = dict(other.model[0].auto_model.named_parameters())
        ours_and_theirs = [
            (p.grad, theirs[name].grad)
            for name, p in encoder.backbone.named_parameters()
            if p.grad is not None and theirs[name].grad is not None
        ]
        apart = torch.stack([(a - b).norm() for a, b in ours_and_theirs]).norm()
        length = torch.stack([b.norm() for _, b in ours_and_theirs]).norm()
        found[f"loss_difference_{precision}"] = abs(float(ours.total) - float(total.detach()))
        found[f"gradient_difference_{precision}"] = float(apart / length)
    return found
