"""The guide against false negatives: its embeddings of the training pairs, each distinct text encoded once."""

from __future__ import annotations

from functools import partial

import torch

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.guide import Guide
from matryoshka.data.tokens import TokenIds, tokenized_pairs
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.encoder.progress import progress_bar
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.processes.together import first_then_others, is_first
from matryoshka.report.terminal import lines
from matryoshka.tasks.loading import TrainingData, prompts_of
from matryoshka.tasks.measuring import Measuring

SAMPLED = 50  # batches that are looked at before the first update


def prepare_guide(recipe: TrainingRecipe, data: TrainingData, measuring: Measuring) -> None:
    """Give the recipe's guide its embeddings, if there is one; a line says how much it leaves out.

    The encoder must be as it is before training, without a projection.
    """
    guide = data.batches.negatives
    if not isinstance(guide, Guide):
        return
    pairs = data.batches.pairs.with_format("python")
    if guide.model is not None:
        encoder = first_then_others(partial(Pretrained.named(guide.model).load, None)).to(measuring.device)
        measuring = measuring.of_encoder(encoder)
        texts = data.split.pairs
        prompts = prompts_of(encoder, texts.column_names)
        pairs = tokenized_pairs(texts, encoder.tokenizer, encoder.max_seq_length, prompts).with_format("python")
    columns = [TokenIds.of(pairs[column][:]).without_copies() for column in pairs.column_names]
    tokens = sum(len(ids.flat) for ids, _ in columns)
    with progress_bar(f"encoding {len(pairs):,} training pairs for the guide", tokens, show=is_first()) as advance:
        embedded = measuring.embedded([ids for ids, _ in columns], OnDisk(), advance)
    guide.prepare([(texts_UD, torch.from_numpy(rows)) for texts_UD, (_, rows) in zip(embedded, columns, strict=True)])
    if is_first():
        lines.say("guide", _said(data, guide))


def _said(data: TrainingData, guide: Guide) -> str:
    """How much the guide leaves out of the first batches."""
    left, candidates = 0, 0
    for rows in data.batches.sampler.batches()[:SAMPLED]:
        mask_BN = guide.mask(rows)
        left += 0 if mask_BN is None else int(mask_BN.sum())
        candidates += len(rows) * ((len(guide.columns) - 1) * len(rows) - 1)
    share = left / max(1, candidates)
    name = guide.model or "the untrained encoder"
    return f"{name} leaves out {share:.2%} of the candidates" + ("" if left else ": nothing to do")
