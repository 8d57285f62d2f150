"""Updates of sentence-transformers on a device, with our weights and texts, and how far its loss and gradients are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_model import Shape, Texts, random_encoder
from gpu_training import AdamW, Pairs, packed
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sides import autocast_forward
from torch import Tensor, nn

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training.accumulation import add_gradients


class TheirTraining:
    """sentence-transformers with the same weights; columns in the card's order, the passage first."""

    def __init__(self, shape: Shape, device: torch.device, precision: str, *, dropout: float | None = None) -> None:
        encoder = random_encoder(shape, device, dropout=dropout)
        with tempfile.TemporaryDirectory() as folder:
            path = SentenceTransformersFolder().save(encoder, Path(folder) / "model")
            self.model = SentenceTransformer(str(path), device=str(device), local_files_only=True)
        self.device = device
        inner = MultipleNegativesRankingLoss(self.model)
        self.loss = TheirMatryoshkaLoss(self.model, inner, list(shape.dims))
        self.optimizer = AdamW(self.model.parameters())
        self.model.train(dropout != 0)
        if precision == "bf16":
            autocast_forward(self.model, device.type)

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
