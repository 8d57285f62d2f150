"""A random encoder of BAAI/bge-m3's shape, and texts as long as the card's; nothing is read from outside."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from matryoshka.encoder import Encoder, Pooling

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # XLM-R's, by id
QUESTION, PASSAGE = 25, 209  # mean tokens of the card's 4,957 pairs, by its 21 PFLOP for 10 epochs


@dataclass(frozen=True)
class Shape:
    """Of the model and of an update. dropout: of hidden states and of attention, as bge-m3's configuration has it."""

    layers: int = 24
    width: int = 1024
    heads: int = 16
    inner: int = 4096
    words: int = 20_000  # of the vocabulary: the card's pairs use fewer than 20,000 of its 250,002 rows
    longest: int = 1024
    pairs: int = 16
    micro_batches: int = 16
    dropout: float = 0.1
    dims: tuple[int, ...] = (768, 512, 256, 128, 64)


CARD = Shape()
TINY = Shape(layers=2, width=64, heads=4, inner=128, words=500, longest=64, pairs=4, micro_batches=4, dims=(64, 32, 16))


def tokenizer_of(shape: Shape) -> PreTrainedTokenizerFast:
    """One token a word: `w17 w4` is two tokens, and two more at its ends."""
    words = [*SPECIAL, *(f"w{i}" for i in range(shape.words))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names: dict[str, Any] = {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"}
    names |= {"pad_token": "<pad>", "unk_token": "<unk>", "tokenizer_object": tokenizer}
    return PreTrainedTokenizerFast(model_max_length=shape.longest, **names)  # type: ignore[no-untyped-call]


def random_encoder(shape: Shape, device: torch.device, *, dropout: float | None = None, seed: int = 0) -> Encoder:
    """Random weights made on the device, CLS pooling, in evaluation mode; the same for one seed and device."""
    rate = shape.dropout if dropout is None else dropout
    config = XLMRobertaConfig(
        vocab_size=shape.words + len(SPECIAL),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=shape.longest + 2,
        hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
        layer_norm_eps=1e-5,
        initializer_range=0.64 / shape.width**0.5,  # bge-m3's .02, and as lively for a narrow one
    )
    torch.manual_seed(seed)
    with device:
        backbone = XLMRobertaModel(config, add_pooling_layer=False)
    return Encoder(backbone, tokenizer_of(shape), Pooling(["cls"]), max_seq_length=shape.longest, name="random").eval()


class Texts:
    """Pairs of random words, new ones at every call: questions of 12 to 38 tokens, passages of any length."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self.shape = shape
        self.random = random.Random(seed)

    def pairs(self, count: int) -> list[tuple[str, str]]:
        """(question, passage), distinct."""
        scale = self.shape.longest / CARD.longest
        return [(self._text(self._question() * scale), self._text(self._passage() * scale)) for _ in range(count)]

    def window(self) -> list[list[tuple[str, str]]]:
        """The micro-batches of one update."""
        return [self.pairs(self.shape.pairs) for _ in range(self.shape.micro_batches)]

    def _question(self) -> float:
        return self.random.uniform(0.5 * QUESTION, 1.5 * QUESTION)

    def _passage(self) -> float:
        return self.random.lognormvariate(5.12, 0.667)  # of mean 209: half have up to 167 tokens, one in 100 over 790

    def _text(self, tokens: float) -> str:
        words = max(1, min(round(tokens), self.shape.longest) - 2)
        return " ".join(f"w{self.random.randrange(self.shape.words)}" for _ in range(words))


def save_small_encoder(folder: Path, *, large: bool) -> Path:
    """A random encoder with a tokenizer of letters for real texts, as a folder; large: of a small encoder's size."""
    from tests.tiny import tiny_tokenizer

    layers, width = (6, 384) if large else (2, 64)
    tokenizer = tiny_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        max_position_embeddings=tokenizer.model_max_length + 2,
    )
    torch.manual_seed(0)
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
