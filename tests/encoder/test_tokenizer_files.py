"""A lone sentencepiece model is read where its packages are, and they are named where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import DebertaV2Config, DebertaV2Model

from matryoshka.encoder import Encoder, Pretrained, tokenizer_files
from tests.tiny import tiny_sentencepiece


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of mdeberta's kind, with spm.model alone."""
    config = DebertaV2Config(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
    )
    torch.manual_seed(0)
    DebertaV2Model(config).save_pretrained(tmp_path)
    (tmp_path / "spm.model").write_bytes(tiny_sentencepiece())
    return tmp_path


def problem(folder: Path) -> str:
    ((key, message),) = Pretrained(str(folder)).problems()
    assert key == "model"
    return message


def test_a_lone_sentencepiece_model_gives_its_own_tokens(folder: Path) -> None:
    assert list(Pretrained(str(folder)).problems()) == []
    encoder = Encoder.load(str(folder))

    pieces = sentencepiece.SentencePieceProcessor()
    pieces.LoadFromSerializedProto(tiny_sentencepiece())
    for text in ("die Schule", "wer zahlt den Notar und das Haus"):
        assert encoder.tokenize([text]) == [[1, *pieces.encode(text), 2]]  # [CLS] ... [SEP]
    assert np.isfinite(encoder.encode(["die Schule", "x"])).all()


@pytest.mark.parametrize(
    ("hidden", "said", "install"),
    [
        ({"sentencepiece"}, "sentencepiece not installed", "pip install 'matryoshka[sentencepiece]'"),
        ({"google.protobuf"}, "protobuf not installed", "pip install 'matryoshka[sentencepiece]' protobuf"),
        ({"sentencepiece", "google.protobuf"}, "sentencepiece and protobuf not installed", "protobuf"),
    ],
)
def test_missing_packages_are_named_before_anything_is_read(
    folder: Path, hidden: set[str], said: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_files, "find_spec", lambda name: None if name in hidden else object())

    message = problem(folder)
    assert message.startswith(f"{folder / 'spm.model'} is a sentencepiece model without tokenizer.json beside it, and")
    assert said in message
    assert message.endswith(install)


def test_a_tokenizer_of_one_file_needs_no_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Encoder.load(str(folder)).tokenizer.save_pretrained(folder)
    monkeypatch.setattr(tokenizer_files, "find_spec", lambda name: None)

    assert list(Pretrained(str(folder)).problems()) == []


def test_a_cut_file_is_named(folder: Path) -> None:
    (folder / "spm.model").write_bytes(tiny_sentencepiece()[:-30])

    assert problem(folder) == (
        f"{folder / 'spm.model'} is damaged or no sentencepiece model; copy the complete file again"
    )


def test_a_file_of_tiktoken_names_its_package(folder: Path) -> None:
    (folder / "spm.model").rename(folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")

    assert "needs tiktoken, which is not installed; pip install tiktoken" in problem(folder)
