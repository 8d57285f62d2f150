"""A random encoder small enough for any test: two layers, a tokenizer of letters, nothing to download."""

from __future__ import annotations

import io
import json
import string
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from matryoshka.encoder import Encoder, Pooling
from matryoshka.encoder.pooling import Mode

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # XLM-R's, by id
WORDS = ("▁der", "▁die", "▁das", "▁und", "▁query", "▁passage", "sch", "en", "er", "ch", "ei", "ie")
LETTERS = "▁" + string.ascii_lowercase + "äöüß" + string.digits + string.punctuation


def tiny_tokenizer(max_length: int = 64) -> PreTrainedTokenizerFast:
    """A unigram tokenizer of letters and a few words, with XLM-R's special tokens."""
    scores = {**dict.fromkeys(SPECIAL, 0.0), **dict.fromkeys(WORDS, -2.0), **dict.fromkeys(LETTERS, -4.0)}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    names: dict[str, Any] = {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"}
    names |= {"pad_token": "<pad>", "unk_token": "<unk>", "tokenizer_object": tokenizer}
    return PreTrainedTokenizerFast(model_max_length=max_length, **names)  # type: ignore[no-untyped-call]


def padless_tokenizer() -> PreTrainedTokenizerFast:
    """The same without a pad token, as many decoders have it; its eos token is </s>."""
    backend = tiny_tokenizer().backend_tokenizer
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(model_max_length=64, tokenizer_object=backend, **names)  # type: ignore[no-untyped-call]


@cache
def tiny_sentencepiece() -> bytes:
    """A sentencepiece model of a few German words, with DeBERTa's special tokens, as spm.model has it."""
    import sentencepiece

    content, texts = io.BytesIO(), ["die Schule und das Haus", "wer zahlt den Notar", "ein längerer Text"]
    names = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    numbers = {"vocab_size": 60, "hard_vocab_limit": False, "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 20), model_writer=content, minloglevel=2, **names, **numbers
    )
    return content.getvalue()


def tiny_encoder(
    width: int = 32,
    layers: int = 2,
    modes: Sequence[Mode] = ("cls",),
    seed: int = 0,
    dropout: float = 0.0,
    prompts: Mapping[str, str] | None = None,
) -> Encoder:
    """An encoder with random weights, always the same for one seed; on the CPU, in evaluation mode."""
    tokenizer = tiny_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=tokenizer.model_max_length + 2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,  # wider than usual, so that texts differ clearly
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = XLMRobertaModel(config)
    encoder = Encoder(backbone, tokenizer, Pooling(modes), max_seq_length=32, prompts=prompts, name="tiny")
    return encoder.eval()


def save_plain(folder: Path) -> Path:
    """A folder of transformers alone, without sentence-transformers' files; returns it."""
    encoder = tiny_encoder()
    encoder.backbone.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    return folder


def with_checkpointing(encoder: Encoder) -> Encoder:
    """The same encoder, with gradient checkpointing as Pretrained turns it on."""
    backbone = encoder.backbone
    getattr(backbone, "activation_checkpointing_enable", backbone.gradient_checkpointing_enable)()
    return encoder


def folder_without_weights(folder: Path, config: Mapping[str, Any]) -> Path:
    """A model's folder that the check of a configuration lets pass, with a number where its weights would be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny", **config}), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    save_file({"number": torch.zeros(1)}, folder / "model.safetensors")
    return folder
