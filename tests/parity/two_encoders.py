"""One encoder twice: ours, and as sentence-transformers loads it from the folder that we save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from torch import nn

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.pooling import Mode
from matryoshka.export.sentence_transformers import SentenceTransformersFolder

PROMPTS = {"query": "query: ", "document": "passage: "}
POOLINGS: dict[str, list[Mode]] = {"cls": ["cls"], "mean": ["mean"], "cls + mean": ["cls", "mean"]}
ALLOWED = 1e-5  # between embeddings of equal weights, of length 1 and in fp32


def saved_and_loaded(encoder: Encoder, folder: Path) -> SentenceTransformer:
    """The encoder as sentence-transformers loads it, on the CPU."""
    path = SentenceTransformersFolder().save(encoder, folder / "model")
    return SentenceTransformer(str(path), device="cpu", local_files_only=True)


def embedded_encoder() -> Encoder:
    """The embedded encoder at its size in the recipes, without dropout."""
    encoder = Pretrained("embedded:e5_small", max_seq_length=128, prompts=PROMPTS).load(Pooling(["cls", "mean"]))
    return without_dropout(encoder)


def without_dropout(encoder: Encoder) -> Encoder:
    """Each side draws its own dropout. What is set here is saved with the model, so it holds on both sides."""
    config = encoder.backbone.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    for module in encoder.backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return encoder


def backbone_of(theirs: SentenceTransformer) -> nn.Module:
    """transformers' model in a SentenceTransformer."""
    transformer: Any = theirs[0]
    backbone: nn.Module = transformer.auto_model
    return backbone
