"""The guide against false negatives: its embeddings of the training pairs, each distinct text encoded once."""

from __future__ import annotations

from functools import partial

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.guide import Guide
from matryoshka.data.tokens import tokenized_pairs
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.processes.together import first_then_others, is_first
from matryoshka.report.terminal import lines
from matryoshka.tasks.loading import TrainingData
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.pair_texts import encoded_columns, encoded_draws
from matryoshka.tasks.pair_tokens import drawn_texts, prompts_of
from matryoshka.training.explanation.batches import false_negatives

SAMPLED = 50  # batches that are looked at before the first update


def prepare_guide(recipe: TrainingRecipe, data: TrainingData, measuring: Measuring) -> None:
    """Give the recipe's guide its embeddings, if there is one; a line says how much it leaves out.

    The encoder must be as it is before training, without a projection.
    """
    guide = data.batches.negatives
    if not isinstance(guide, Guide):
        return
    pairs, drawn = data.batches.pairs, data.batches.drawn
    if guide.model is not None:
        encoder = first_then_others(partial(Pretrained.named(guide.model).load, None)).to(measuring.device)
        measuring = measuring.of_encoder(encoder)
        texts = data.split.pairs
        prompts = prompts_of(encoder, texts.column_names)
        pairs = tokenized_pairs(texts, encoder.tokenizer, encoder.max_seq_length, prompts)
        drawn = drawn_texts(data.split, encoder, recipe.seed)
    if drawn is not None:
        guide.prepare(encoded_draws(drawn, measuring, " for the guide"))
    else:
        guide.prepare(encoded_columns(pairs, pairs.column_names, measuring, " for the guide"))
    if is_first():
        lines.say("guide", _said(data, guide))


def _said(data: TrainingData, guide: Guide) -> str:
    """How much the guide leaves out of the first batches."""
    batches = data.batches.sampler.batches()[:SAMPLED]
    share = false_negatives(guide, batches, [None] * len(batches))
    name = guide.model or "the untrained encoder"
    return f"{name} leaves out {share:.2%} of the candidates" + ("" if share else ": nothing to do")
