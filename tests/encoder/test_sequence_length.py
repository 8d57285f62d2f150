"""How many tokens are read: at most those that a model's positions reach, whatever its files say."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.sequence_length import longest_sequence, sequence_length
from matryoshka.errors import UserError
from tests.tiny import tiny_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
OPTIONS: dict[str, Any] = {"vocab_size": 120, "max_position_embeddings": 22, "pad_token_id": 1}


def model(kind: str) -> PreTrainedModel:
    """A tiny model of this kind, with 22 positions."""
    distilbert: dict[str, Any] = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    gpt2: dict[str, Any] = {"vocab_size": 120, "n_positions": 22, "n_embd": 16, "n_layer": 1, "n_head": 2}
    if kind == "distilbert":
        return DistilBertModel(DistilBertConfig(**OPTIONS, **distilbert))
    if kind == "gpt2":
        return GPT2Model(GPT2Config(**gpt2))
    if kind == "bert":
        return BertModel(BertConfig(**OPTIONS, **SIZES))
    return (
        RobertaModel(RobertaConfig(**OPTIONS, **SIZES))
        if kind == "roberta"
        else MPNetModel(MPNetConfig(**OPTIONS, **SIZES))
    )


def saved(folder: Path, kind: str, length: int | None = None) -> Path:
    """A model of this kind, a tokenizer that says nothing of a length, and a file that says this one."""
    model(kind).save_pretrained(folder)
    tiny_tokenizer(10**30).save_pretrained(folder)
    if length:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}), encoding="utf-8")
    return folder


def test_positions_behind_that_of_the_pad_token_are_fewer() -> None:
    config = {"max_position_embeddings": 512, "pad_token_id": 0}

    assert longest_sequence({**config, "model_type": "bert"}) == 512
    assert longest_sequence({**config, "model_type": "xlm-roberta", "pad_token_id": 1}) == 510
    assert longest_sequence({**config, "model_type": "camembert", "pad_token_id": 1}) == 510
    assert longest_sequence({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}) == 512
    assert longest_sequence({"model_type": "mpnet", "max_position_embeddings": 514}) == 512
    assert longest_sequence({"model_type": "gpt2", "n_positions": 1024}) == 1024
    assert longest_sequence({"model_type": "t5", "n_positions": 512}) > 10**6  # its positions are relative


@pytest.mark.parametrize(
    ("kind", "longest"), [("bert", 22), ("distilbert", 22), ("roberta", 20), ("mpnet", 20), ("gpt2", 22)]
)
def test_a_saved_length_ends_at_the_positions(
    tmp_path: Path, kind: str, longest: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, kind, 512)
    assert list(Pretrained(str(folder)).problems()) == []

    with caplog.at_level(logging.WARNING, "matryoshka"):
        encoder = Pretrained(str(folder)).load(Pooling(["last"]))
    assert encoder.max_seq_length == longest
    assert f"a length of 512 tokens is saved, and its positions end at {longest}: cut there" in caplog.text
    assert np.isfinite(encoder.encode(["x " * 300])).all()  # and so many can really be read


@pytest.mark.parametrize(("said", "warned"), [(10**30, False), (22, True), (20, False), (9, False)])
def test_so_does_that_of_a_tokenizer(tmp_path: Path, said: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path, "mpnet")
    tiny_tokenizer(said).save_pretrained(folder)

    with caplog.at_level(logging.WARNING, "matryoshka"):
        assert Encoder.load(str(folder)).max_seq_length == min(said, 20)
    assert ("cut there" in caplog.text) is warned


def test_a_saved_length_comes_before_the_tokenizers(tmp_path: Path) -> None:
    folder = saved(tmp_path, "mpnet", 15)
    tiny_tokenizer(9).save_pretrained(folder)

    assert Encoder.load(str(folder)).max_seq_length == 15


@pytest.mark.parametrize("asked", [2, 21])
def test_a_length_that_is_asked_for_is_never_cut(tmp_path: Path, asked: int) -> None:
    folder = saved(tmp_path, "mpnet")
    message = f"{asked} is not between 3 and the model's 20 tokens"

    assert list(Pretrained(str(folder), max_seq_length=asked).problems()) == [("max_seq_length", message)]
    with pytest.raises(UserError, match=f"max_seq_length={message}"):
        Encoder.load(str(folder), max_seq_length=asked)
    config = {"model_type": "mpnet", "max_position_embeddings": 22}
    assert sequence_length("x", config, asked=20, saved=5, of_tokenizer=6) == 20
